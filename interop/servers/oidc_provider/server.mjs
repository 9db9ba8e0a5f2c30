// node-oidc-provider over https with client certificates: `node server.mjs config.json`.
// config.json: port, ca_file, certificate_file, key_file and clients (see ../oidc_provider.py).
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import * as https from 'node:https';

import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import { Provider, errors } from 'oidc-provider';
// Not public, but what the provider itself checks proofs with; package-lock.json holds the version.
import { checkDpopReplay, default as validateDpop } from 'oidc-provider/lib/helpers/validate_dpop.js';

const config = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const issuer = `https://127.0.0.1:${config.port}`;
const ACCOUNT = 'ana';
const SCOPES = ['openid', 'offline_access', 'api:read', 'api:write'];
const API = `${issuer}/api`;
const RESOURCES = [API, 'urn:qpay:ledger'];
const LIFETIME_S = 300;

async function privateJwk(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: 'sig', kid: `server-${alg}` };
}

const jwks = { keys: [await privateJwk('RS256'), await privateJwk('ES256')] };
const verificationKeys = createLocalJWKSet({
  keys: jwks.keys.map(({ kty, alg, use, kid, n, e, crv, x, y }) => ({ kty, alg, use, kid, n, e, crv, x, y })),
});

function clientCertificate(ctx) {
  return ctx.socket.getPeerX509Certificate?.();
}

/** The subject as RFC 4514 writes it: last part first. */
function subjectDn(certificate) {
  return certificate.subject.split('\n').reverse().join(',');
}

// A second name of the same server, as RFC 8705 section 5 lists it.
const mtlsBase = `https://localhost:${config.port}`;

const provider = new Provider(issuer, {
  clients: config.clients,
  jwks,
  scopes: SCOPES,
  clientAuthMethods: [
    'client_secret_basic',
    'client_secret_post',
    'client_secret_jwt',
    'private_key_jwt',
    'tls_client_auth',
    'self_signed_tls_client_auth',
    'none',
  ],
  enabledJWA: { dPoPSigningAlgValues: ['ES256', 'RS256'] },
  cookies: { keys: [crypto.randomBytes(32).toString('hex')] },
  discovery: {
    mtls_endpoint_aliases: {
      token_endpoint: `${mtlsBase}/token`,
      introspection_endpoint: `${mtlsBase}/token/introspection`,
      revocation_endpoint: `${mtlsBase}/token/revocation`,
    },
  },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  ttl: {
    AccessToken: LIFETIME_S,
    AuthorizationCode: 60,
    ClientCredentials: LIFETIME_S,
    DeviceCode: LIFETIME_S,
    Grant: 3600,
    IdToken: LIFETIME_S,
    Interaction: 600,
    RefreshToken: 3600,
    Session: 3600,
  },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    deviceFlow: { enabled: true },
    dPoP: { enabled: true, nonceSecret: crypto.randomBytes(32), requireNonce: () => true },
    introspection: { enabled: true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      selfSignedTlsClientAuth: true,
      tlsClientAuth: true,
      getCertificate: clientCertificate,
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_subject_dn' && subjectDn(clientCertificate(ctx)) === expected,
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: (ctx, client, oneOf) => oneOf?.[0],
      useGrantedResource: () => true,
      getResourceServerInfo(ctx, resource) {
        if (!RESOURCES.includes(resource)) {
          throw new errors.InvalidTarget();
        }
        return {
          scope: 'api:read api:write',
          audience: resource,
          accessTokenTTL: LIFETIME_S,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        };
      },
    },
    revocation: { enabled: true },
  },
});

/** The consent of the one account to all that a client asks for. */
async function grantTo(clientId, scope, resources) {
  const grant = new provider.Grant({ accountId: ACCOUNT, clientId });
  grant.addOIDCScope(scope);
  for (const resource of resources) {
    grant.addResourceScope(resource, scope);
  }
  return grant.save();
}

/** Signs the account in and consents at once: nobody has to look at a page. */
async function interaction(ctx) {
  const { params } = await provider.interactionDetails(ctx.req, ctx.res);
  const grantId = await grantTo(params.client_id, params.scope ?? '', [params.resource ?? []].flat());
  await provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: ACCOUNT }, consent: { grantId } });
  ctx.respond = false;
}

/** `?user_code=`: what the account does at /device in a browser, in one step; `&deny=1` says no. */
async function approveDevice(ctx) {
  const code = await provider.DeviceCode.findByUserCode(String(ctx.query.user_code).toUpperCase().replace(/\W/g, ''));
  if (!code || code.accountId || code.error) {
    ctx.status = 404;
    return;
  }
  if (ctx.query.deny) {
    Object.assign(code, { error: 'access_denied', errorDescription: 'the account said no' });
  } else {
    const resources = [code.params.resource ?? []].flat();
    const scope = code.params.scope ?? '';
    Object.assign(code, {
      accountId: ACCOUNT,
      authTime: Math.floor(Date.now() / 1000),
      grantId: await grantTo(code.clientId, scope, resources),
      resource: resources,
      scope,
    });
  }
  await code.save();
  ctx.status = 204;
}

/** Opaque tokens are looked up, tokens for a resource are JWTs. */
async function findToken(value) {
  const stored = (await provider.AccessToken.find(value)) ?? (await provider.ClientCredentials.find(value));
  if (stored) {
    return {
      clientId: stored.clientId,
      scope: stored.scope,
      sub: stored.accountId,
      jkt: stored.jkt,
      x5t: stored['x5t#S256'],
    };
  }
  try {
    const { payload } = await jwtVerify(value, verificationKeys, { issuer, audience: API, typ: 'at+jwt' });
    const { client_id: clientId, scope, sub, aud, cnf } = payload;
    return { clientId, scope, sub, aud, jkt: cnf?.jkt, x5t: cnf?.['x5t#S256'] };
  } catch (cause) {
    throw new errors.InvalidToken('no such access token, or not for this resource', { cause });
  }
}

/** Who calls, as the token says; the proof or certificate that it is bound to has to be there. */
async function whoami(ctx) {
  const { oidc } = ctx;
  const value = oidc.getAccessToken({ acceptDPoP: true });
  const proof = await validateDpop(provider, ctx, value);
  const token = await findToken(value);
  await checkDpopReplay(provider, ctx, proof, token.clientId, errors.InvalidToken);
  if (token.jkt !== proof?.thumbprint) {
    throw new errors.InvalidToken('DPoP proof and access token do not belong together');
  }
  if (token.x5t) {
    const certificate = clientCertificate(ctx);
    if (!certificate || crypto.hash('sha256', certificate.raw, 'base64url') !== token.x5t) {
      throw new errors.InvalidToken('not the certificate that the access token is bound to');
    }
  }
  const bound = token.jkt ? 'dpop' : token.x5t ? 'certificate' : 'no';
  ctx.body = { client_id: token.clientId, scope: token.scope, sub: token.sub, aud: token.aud, bound };
}

/** Errors as RFC 6750 section 3 and RFC 9449 section 9 have them. */
async function protectedResource(ctx) {
  const oidc = new provider.OIDCContext(ctx);
  oidc.urlFor = () => `${ctx.protocol}://${ctx.host}${ctx.path}`;
  Object.defineProperty(ctx, 'oidc', { value: oidc });
  try {
    await whoami(ctx);
  } catch (error) {
    if (!error.expose) {
      throw error;
    }
    console.error('api:', error.error, error.error_description, error.cause ?? '');
    const scheme = ctx.get('DPoP') || /^DPoP /i.test(ctx.get('Authorization')) ? 'DPoP' : 'Bearer';
    ctx.status = 401;
    const description = String(error.error_description ?? '').replaceAll('"', "'");
    ctx.set('WWW-Authenticate', `${scheme} error="${error.error}", error_description="${description}"`);
    ctx.body = { error: error.error, error_description: error.error_description };
  }
}

provider.use(async (ctx, next) => {
  ctx.res.on('finish', () => console.log('access:', ctx.method, ctx.path, ctx.res.statusCode, ctx.host));
  if (/^\/interaction\/[\w-]+$/.test(ctx.path)) {
    await interaction(ctx);
  } else if (ctx.path === '/test/device') {
    await approveDevice(ctx);
  } else if (ctx.path === '/api/whoami') {
    await protectedResource(ctx);
  } else {
    await next();
  }
});

provider.on('server_error', (ctx, error) => console.error(error));
provider.on('grant.error', (ctx, error) => console.error('token:', error.error, error.error_description, error.error_detail));

https
  .createServer(
    {
      ca: fs.readFileSync(config.ca_file),
      cert: fs.readFileSync(config.certificate_file),
      key: fs.readFileSync(config.key_file),
      requestCert: true,
      rejectUnauthorized: false,
    },
    provider.callback(),
  )
  .listen(config.port, '127.0.0.1', () => console.log(`listening at ${issuer}`));
