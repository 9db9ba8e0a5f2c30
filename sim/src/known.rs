//! The credentials that a fresh simulator accepts; `GET /_sim/credentials` tells them too.

/// Quantaprice: the first API key's id.
pub const QUANTAPRICE_CLIENT_ID: &str = "a1b2c3d4e5f6a1b2c3d4e5f6";
/// Quantaprice: the first API key's secret.
pub const QUANTAPRICE_CLIENT_SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Quantaprice: the second API key's id, for rotation.
pub const QUANTAPRICE_SECOND_CLIENT_ID: &str = "b1b2c3d4e5f6a1b2c3d4e5f6";
/// Quantaprice: the second API key's secret.
pub const QUANTAPRICE_SECOND_CLIENT_SECRET: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// Quiqup: the client.
pub const QUIQUP_CLIENT_ID: &str = "quiqup-client";
/// Quiqup: the client's secret.
pub const QUIQUP_CLIENT_SECRET: &str = "quiqup-secret-5f1c";

/// Quable: the user, the same in every instance.
pub const QUABLE_USERNAME: &str = "api_catalogue";
/// Quable: the user's password.
pub const QUABLE_PASSWORD: &str = "quable-password-93aa";
/// Quable: the generic token, valid without a login.
pub const QUABLE_GENERIC_TOKEN: &str = "generic-5c1d7a90f2e84b6f";

/// Quartile: the user's e-mail address.
pub const QUARTILE_USERNAME: &str = "ops@example.com";
/// Quartile: the user's password.
pub const QUARTILE_PASSWORD: &str = "quartile-password-2b7e";
/// Quartile: the subscription key that goes with every request.
pub const QUARTILE_SUBSCRIPTION_KEY: &str = "quartile-subscription-77c0";

/// QPay: the machine's client.
pub const QPAY_CLIENT_ID: &str = "qpay-machine";
/// QPay: the machine's secret.
pub const QPAY_CLIENT_SECRET: &str = "qpay-secret-e41d";
/// QPay: the person.
pub const QPAY_USERNAME: &str = "maria";
/// QPay: the person's password.
pub const QPAY_PASSWORD: &str = "qpay-password-08fd";
/// QPay: the tenant of both.
pub const QPAY_TENANT_ID: &str = "issuer-001";
/// QPay: the tenant's type.
pub const QPAY_TENANT_TYPE: &str = "issuer";

/// The public credentials of `/generic`: field, value, and whether it is a secret. The same names are told by
/// `GET /_sim/credentials`; what each client accepts is in the crate's README.
pub const GENERIC: &[(&str, &str, bool)] = &[
    ("client_id", "generic client:1/+%", false),
    ("client_secret", "generic s3cret:&=+%7E/ü", true),
    ("raw_client_id", "raw client/+%41", false),
    ("raw_client_secret", "raw s3cret:&=+%7E/", true),
    ("post_client_id", "generic-post", false),
    ("post_client_secret", "generic-post-secret-81d0", true),
    ("secret_jwt_client_id", "generic-secret-jwt", false),
    ("secret_jwt_client_secret", "5d1f0c9be27a48369d04f1c85a7be3620e9d37c1b86f4a25d7c0394e81fa6b52", true),
    ("public_client_id", "generic-public", false),
    ("rs256_client_id", "generic-rs256", false),
    ("rs384_client_id", "generic-rs384", false),
    ("rs512_client_id", "generic-rs512", false),
    ("ps256_client_id", "generic-ps256", false),
    ("es256_client_id", "generic-es256", false),
    ("es384_client_id", "generic-es384", false),
    ("eddsa_client_id", "generic-eddsa", false),
    ("rsa_private_key", include_str!("../keys/rsa.pem"), true),
    ("rsa_private_jwk", include_str!("../keys/rsa.jwk.json").trim_ascii(), true),
    ("rsa_kid", "generic-rsa", false),
    ("rsa_certificate", include_str!("../keys/rsa.certificate.pem"), false),
    ("rsa_x5t_s256", "EFH3lqj1FXnr-xZsPIbEUnzhXCw8tZgIK-SiiXUyLWY", false),
    ("es256_private_key", include_str!("../keys/es256.pem"), true),
    ("es256_private_jwk", include_str!("../keys/es256.jwk.json").trim_ascii(), true),
    ("es256_kid", "generic-es256", false),
    ("es384_private_key", include_str!("../keys/es384.pem"), true),
    ("es384_private_jwk", include_str!("../keys/es384.jwk.json").trim_ascii(), true),
    ("es384_kid", "generic-es384", false),
    ("eddsa_private_key", include_str!("../keys/eddsa.pem"), true),
    ("eddsa_private_jwk", include_str!("../keys/eddsa.jwk.json").trim_ascii(), true),
    ("eddsa_kid", "generic-eddsa", false),
    ("mtls_client_id", "generic-mtls", false),
    ("mtls_private_key", include_str!("../keys/mtls.pem"), true),
    ("mtls_certificate", include_str!("../keys/mtls.certificate.pem"), false),
    ("mtls_x5t_s256", "4UJN53AnGC6YYueeJ9jtRpLabPwFhAHy6pV7P5voGxU", false),
    ("username", "generic@example.com", false),
    ("password", "generic-password-6f2a", true),
];

/// The value of one field of [`GENERIC`]; `None` for a name that is not there.
pub fn generic(field: &str) -> Option<&'static str> {
    GENERIC.iter().find(|(name, ..)| *name == field).map(|(_, value, _)| *value)
}
