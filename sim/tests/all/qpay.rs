use crate::support::{Answer, Probe, QPAY_PERSON, QPAY_TOKEN, claims, start};
use qauth_sim::known;
use serde_json::{Value, json};

async fn machine(probe: &Probe) -> Answer {
    probe.qpay_client(known::QPAY_CLIENT_ID, known::QPAY_CLIENT_SECRET).await
}

async fn call(probe: &Probe, method: &str, path: &str, token: &str, body: Value) -> Answer {
    let request = probe.with_token(method, &format!("/qpay/credentials/{path}"), token);
    probe.send(request.header("content-type", "application/json").body(body.to_string())).await
}

fn new_client() -> Value {
    json!({"tenant_id": known::QPAY_TENANT_ID, "name": "my-integration-client", "roles": ["issuer"]})
}

#[tokio::test]
async fn a_machine_gets_a_short_token_without_a_refresh_token() {
    let probe = start();
    let answer = machine(&probe).await.is(200);
    let token = answer.at("/access_token");
    claims(&token);
    assert_eq!(
        answer.json(),
        json!({
            "access_token": token, "expires_in": 300, "refresh_expires_in": 0, "token_type": "Bearer",
            "not-before-policy": 0, "scope": "email profile",
        })
    );
    probe.get("/qpay/cards", &token).await.is(200);
}

#[tokio::test]
async fn a_person_makes_a_client_that_then_logs_in_by_itself() {
    let probe = start();
    let person = probe.qpay_person().await.is(200).at("/access_token");
    let whoami = call(&probe, "GET", "whoami", &person, json!({})).await.is(200).json();
    let parent = &whoami["parent_tenant_id"];
    let expected = json!({"tenant_type": "issuer", "tenant_id": "issuer-001", "parent_tenant_id": parent});
    assert_eq!(whoami, expected);
    assert_eq!(call(&probe, "GET", "roles", &person, json!({})).await.is(200).json(), json!(["issuer"]));

    let made = call(&probe, "POST", "clients", &person, new_client()).await.is(201);
    assert_eq!(made.at("/tenant_id"), known::QPAY_TENANT_ID);
    let (id, client_id, secret) = (made.at("/id"), made.at("/client_id"), made.at("/client_secret"));
    let token = probe.qpay_client(&client_id, &secret).await.is(200).at("/access_token");
    probe.get("/qpay/cards", &token).await.is(200);

    let shown = call(&probe, "GET", &format!("clients/{id}"), &person, json!({})).await.is(200);
    assert_eq!(shown.at("/client_id"), client_id);
    assert!(!shown.text.contains(&secret));
    let tenant = format!("clients/{}", known::QPAY_TENANT_ID);
    let listed = call(&probe, "GET", &tenant, &person, json!({})).await.is(200);
    assert_eq!(listed.json().as_array().unwrap().len(), 2);
    assert!(!listed.text.contains("client_secret"));

    call(&probe, "PUT", &format!("clients/{id}"), &person, json!({"roles": []})).await.is(200);
    probe.get("/qpay/cards", &token).await.is(403);
    call(&probe, "PUT", &format!("clients/{id}"), &person, json!({"roles": ["issuer"]})).await.is(200);
    probe.get("/qpay/cards", &token).await.is(200);

    call(&probe, "DELETE", &format!("clients/{id}"), &person, json!({})).await.is(204);
    probe.get("/qpay/cards", &token).await.refuses_the_token();
    probe.qpay_client(&client_id, &secret).await.is(401);
    call(&probe, "GET", &format!("clients/{id}"), &person, json!({})).await.is(404);
}

#[tokio::test]
async fn the_credentials_api_is_for_persons_and_the_cards_are_for_machines() {
    let probe = start();
    let (machine, person) = (machine(&probe).await.at("/access_token"), probe.qpay_person().await.at("/access_token"));
    call(&probe, "GET", "whoami", &machine, json!({})).await.is(403);
    call(&probe, "POST", "clients", &machine, new_client()).await.is(403);
    call(&probe, "GET", "whoami", "", json!({})).await.refuses_the_token();
    probe.get("/qpay/cards", &person).await.is(403);
}

#[tokio::test]
async fn a_client_is_made_only_from_the_documented_fields() {
    let probe = start();
    let person = probe.qpay_person().await.at("/access_token");
    let with = |name: &str, value: Value| {
        let mut body = new_client();
        body[name] = value;
        body
    };
    call(&probe, "POST", "clients", &person, with("name", json!(""))).await.names(400, "name");
    call(&probe, "POST", "clients", &person, with("roles", json!("issuer"))).await.names(400, "roles");
    call(&probe, "POST", "clients", &person, with("roles", json!(["embosser"]))).await.names(400, "roles");
    call(&probe, "POST", "clients", &person, with("secret", json!("mine"))).await.names(400, "secret");
    call(&probe, "POST", "clients", &person, with("tenant_id", json!("issuer-002"))).await.is(403);
    assert_eq!(call(&probe, "GET", "clients", &person, json!({})).await.is(405).header("allow"), "POST");
}

#[tokio::test]
async fn a_person_refreshes_through_the_console_client() {
    let probe = start();
    let login = probe.qpay_person().await.is(200);
    assert_eq!(login.json()["refresh_expires_in"], 1800);
    let refresh_token = login.at("/refresh_token");
    let fields =
        |client_id| [("grant_type", "refresh_token"), ("client_id", client_id), ("refresh_token", &refresh_token)];
    let renewed = probe.form(QPAY_TOKEN, &fields("qpay-console")).await.is(200).at("/access_token");
    call(&probe, "GET", "whoami", &renewed, json!({})).await.is(200);
    probe.form(QPAY_TOKEN, &fields("qpay-machine")).await.is(400);
    probe.script("clock", json!({"advance": 1801})).await;
    assert_eq!(probe.form(QPAY_TOKEN, &fields("qpay-console")).await.is(400).at("/error"), "invalid_grant");
}

#[tokio::test]
async fn refusals_are_those_of_keycloak() {
    let probe = start();
    let wrong = probe.qpay_client(known::QPAY_CLIENT_ID, "wrong").await.is(401);
    assert_eq!(wrong.at("/error"), "unauthorized_client");
    assert_eq!(wrong.at("/error_description"), "Invalid client or Invalid client credentials");
    assert_eq!(probe.qpay_client("nobody", "wrong").await.is(401).at("/error"), "invalid_client");
    let mut fields = QPAY_PERSON;
    fields[3].1 = "wrong";
    let refused = probe.form(QPAY_TOKEN, &fields).await.is(401).json();
    assert_eq!(refused, json!({"error": "invalid_grant", "error_description": "Invalid user credentials"}));
    let realm = probe.form(&QPAY_TOKEN.replace("realms/qpay", "realms/other"), &QPAY_PERSON).await.is(404);
    assert_eq!(realm.json(), json!({"error": "Realm does not exist"}));
    let mut fields = QPAY_PERSON;
    fields[0].1 = "implicit";
    assert_eq!(probe.form(QPAY_TOKEN, &fields).await.is(400).at("/error"), "unsupported_grant_type");
    let mixed = [QPAY_PERSON[0], QPAY_PERSON[1], QPAY_PERSON[2], QPAY_PERSON[3], ("client_secret", "x")];
    probe.form(QPAY_TOKEN, &mixed).await.names(400, "client_secret");
    probe.form(QPAY_TOKEN, &QPAY_PERSON[..3]).await.names(400, "password");
}

#[tokio::test]
async fn the_realm_tells_where_its_token_endpoint_is() {
    let probe = start();
    let found = probe.get("/qpay/auth/realms/qpay/.well-known/openid-configuration", "").await.is(200);
    assert_eq!(found.at("/issuer"), format!("{}/qpay/auth/realms/qpay", probe.sim.url()));
    assert_eq!(found.at("/token_endpoint"), format!("{}{QPAY_TOKEN}", probe.sim.url()));
}

#[tokio::test]
async fn a_client_may_come_by_http_basic_but_not_both_ways() {
    let probe = start();
    let basic = |form: &[(&str, &str)]| {
        probe.form_request(QPAY_TOKEN, form).basic_auth(known::QPAY_CLIENT_ID, Some(known::QPAY_CLIENT_SECRET))
    };
    probe.send(basic(&[("grant_type", "client_credentials")])).await.is(200);
    let both = [("grant_type", "client_credentials"), ("client_id", known::QPAY_CLIENT_ID)];
    probe.send(basic(&both)).await.names(400, "client_id");
}
