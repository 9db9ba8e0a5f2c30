use crate::support::{QUANTAPRICE, claims, start};
use qauth_sim::known;
use serde_json::json;

const TOKEN: &str = "/quantaprice/oauth2/token";
const PRICES: &str = "/quantaprice/api/v1/prices?sku=PRODUCT-001";

#[tokio::test]
async fn a_key_is_exchanged_for_a_token_that_opens_the_prices() {
    let probe = start();
    let answer = probe.quantaprice().await.is(200);
    assert_eq!((answer.at("/token_type"), answer.json()["expires_in"].as_i64()), ("Bearer".into(), Some(3600)));
    assert_eq!(answer.header("cache-control"), "no-store");
    let token = answer.at("/access_token");
    let claims = claims(&token);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    let prices = probe.get(PRICES, &token).await.is(200);
    assert_eq!(prices.json(), json!({"sku": "PRODUCT-001", "price": "12.50", "currency": "EUR"}));
}

#[tokio::test]
async fn two_requests_get_two_tokens_and_both_work() {
    let probe = start();
    let (first, second) =
        (probe.quantaprice().await.at("/access_token"), probe.quantaprice().await.at("/access_token"));
    assert_ne!(first, second);
    probe.get(PRICES, &first).await.is(200);
    probe.get(PRICES, &second).await.is(200);
}

#[tokio::test]
async fn a_wrong_secret_is_refused_as_the_document_shows() {
    let probe = start();
    let mut fields = QUANTAPRICE;
    fields[2].1 = known::QUANTAPRICE_SECOND_CLIENT_SECRET;
    let answer = probe.form(TOKEN, &fields).await.is(401);
    let shown = json!({"error": "invalid_client", "error_description": "Invalid client credentials"});
    assert_eq!(answer.json(), shown);
}

#[tokio::test]
async fn a_malformed_token_request_is_refused_by_what_is_wrong_with_it() {
    let probe = start();
    let answer = probe.send(probe.request("GET", TOKEN)).await.is(405);
    assert_eq!(answer.header("allow"), "POST");
    probe.json(TOKEN, json!({"grant_type": "client_credentials"})).await.names(415, "Content-Type");
    probe.form("/quantaprice/oauth2/token/", &QUANTAPRICE).await.is(404);
    probe.form(TOKEN, &QUANTAPRICE[..2]).await.names(400, "client_secret");
    probe.form(TOKEN, &QUANTAPRICE[1..]).await.names(400, "grant_type");
    probe.form(TOKEN, &[QUANTAPRICE[0], QUANTAPRICE[0]]).await.names(400, "grant_type");
    let extra = [QUANTAPRICE[0], QUANTAPRICE[1], QUANTAPRICE[2], ("scope", "all")];
    probe.form(TOKEN, &extra).await.names(400, "scope");
    let wrong = probe.form(TOKEN, &[("grant_type", "password"), QUANTAPRICE[1], QUANTAPRICE[2]]).await.is(400);
    assert_eq!(wrong.at("/error"), "unsupported_grant_type");
    probe.form("/quantaprice/oauth2/token?client_id=a", &QUANTAPRICE).await.names(400, "query");
    let basic = probe.form_request(TOKEN, &QUANTAPRICE).header("authorization", "Basic YTpi");
    probe.send(basic).await.names(400, "Authorization");
    assert_eq!(probe.count("quantaprice", "tokens_issued").await, 0);
}

#[tokio::test]
async fn the_api_wants_one_bearer_header_spelled_as_documented() {
    let probe = start();
    let token = probe.quantaprice().await.at("/access_token");
    probe.get(PRICES, "").await.refuses_the_token();
    probe.get(PRICES, "unknown").await.refuses_the_token();
    for value in [format!("bearer {token}"), format!("Bearer  {token}"), token.clone()] {
        let request = probe.request("GET", PRICES).header("authorization", value);
        probe.send(request).await.refuses_the_token();
    }
    let twice = probe.with_token("GET", PRICES, &token).header("authorization", format!("Bearer {token}"));
    probe.send(twice).await.refuses_the_token();
}

#[tokio::test]
async fn the_prices_want_a_sku_and_get() {
    let probe = start();
    let token = probe.quantaprice().await.at("/access_token");
    probe.get("/quantaprice/api/v1/prices", &token).await.names(400, "sku");
    probe.get("/quantaprice/api/v1/prices?sku=A&colour=red", &token).await.names(400, "colour");
    let posted = probe.send(probe.with_token("POST", PRICES, &token)).await.is(405);
    assert_eq!(posted.header("allow"), "GET");
    probe.get("/quantaprice/api/v2/prices?sku=A", &token).await.is(404);
}

#[tokio::test]
async fn a_revoked_key_dies_with_its_tokens_and_the_second_key_lives_on() {
    let probe = start();
    let token = probe.quantaprice().await.at("/access_token");
    let second = [
        QUANTAPRICE[0],
        ("client_id", known::QUANTAPRICE_SECOND_CLIENT_ID),
        ("client_secret", known::QUANTAPRICE_SECOND_CLIENT_SECRET),
    ];
    let other = probe.form(TOKEN, &second).await.is(200).at("/access_token");
    probe.script("revoke", json!({"vendor": "quantaprice", "client_id": known::QUANTAPRICE_CLIENT_ID})).await;
    probe.get(PRICES, &token).await.refuses_the_token();
    assert_eq!(probe.quantaprice().await.is(401).at("/error"), "invalid_client");
    probe.get(PRICES, &other).await.is(200);
    probe.form(TOKEN, &second).await.is(200);
}
