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
