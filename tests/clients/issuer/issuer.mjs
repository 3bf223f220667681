// A certified OpenID provider on this host, and people who log in at it without a browser.
//
//   run serve KEY CERTIFICATE           prints its issuer, https://localhost:PORT, and serves until it is killed
//   run code ISSUER PERSON NONCE AMR    logs in by authorization code with PKCE, prints the token endpoint's answer
//   run device ISSUER PERSON NONCE AMR  the same by device code
//   run control ISSUER PATH NAME=VALUE…  changes the provider: `groups who=alice group=…`, `gone who=`, `rotate keep=1`
//
// AMR are words such as `pwd otp`. Who logs in trusts the certificate in $NODE_EXTRA_CA_CERTS, uses the client in $CLIENT
// (`jit-login`, with RS256; `jit-login-es`, with ES256; `other`), and asks for the resource in $RESOURCE.
import crypto from 'node:crypto';
import fs from 'node:fs';
import https from 'node:https';

const scope = 'openid profile groups offline_access';
const client = process.env.CLIENT ?? 'jit-login';

const [verb, ...rest] = process.argv.slice(2);
const verbs = { serve, code, device, control };
if (!verbs[verb]) throw new Error(`no verb ${verb}`);
await verbs[verb](...rest);

async function serve(key, certificate) {
  const { Provider } = await import('oidc-provider');
  const jose = await import('jose');
  const people = new Map([
    ['alice', { groups: ['payments-oncall'] }],
    ['bob', { groups: ['payments-leads'] }],
  ]);
  let generation = 0;
  const made = async (alg, name) => {
    const { privateKey } = await jose.generateKeyPair(alg, { extractable: true });
    return { ...(await jose.exportJWK(privateKey)), kid: `${name}-${generation}`, alg, use: 'sig' };
  };
  let keys = [];
  let provider;
  let issuer;
  // Sessions and tokens are kept for the process, so that a provider with other keys goes on with them.
  const renew = async (kept) => {
    generation += 1;
    keys = [await made('RS256', 'rs'), await made('ES256', 'es'), ...kept];
    provider = new Provider(issuer, configuration());
  };
  const native = (id, alg) => ({
    client_id: id,
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
    response_types: ['code'],
    redirect_uris: ['http://127.0.0.1/callback'],
    id_token_signed_response_alg: alg,
  });
  const configuration = () => ({
    jwks: { keys },
    cookies: { keys: ['only for tests'] },
    clients: [native('jit-login', 'RS256'), native('jit-login-es', 'ES256'), native('other', 'RS256')],
    scopes: ['openid', 'offline_access', 'profile', 'groups'],
    claims: {
      openid: ['sub', 'auth_time', 'amr', 'acr'], profile: ['preferred_username'], groups: ['groups'],
      acr: null, amr: null, auth_time: null, iss: null, sid: null,
    },
    // Claims of scopes are in the ID token too.
    conformIdTokenClaims: false,
    acrValues: ['urn:test:pwd', 'urn:test:mfa'],
    rotateRefreshToken: true,
    issueRefreshToken: async (_, client) => client.grantTypeAllowed('refresh_token'),
    ttl: {
      IdToken: () => 300, AccessToken: () => 300, DeviceCode: () => 600, RefreshToken: () => 3600,
      Interaction: () => 600, Session: () => 3600, Grant: () => 3600, AuthorizationCode: () => 60,
    },
    features: {
      devInteractions: { enabled: false }, deviceFlow: { enabled: true }, userinfo: { enabled: true },
      revocation: { enabled: true, allowedPolicy: (_, client, token) => token.clientId === client.clientId },
      rpInitiatedLogout: { enabled: true },
      resourceIndicators: {
        enabled: true, defaultResource: () => undefined, useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: 'groups', audience: 'jit-login', accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    findAccount: async (_, id) => people.has(id) && {
      accountId: id, claims: async () => ({ sub: id, preferred_username: id, groups: people.get(id).groups }),
    },
    renderError: async (ctx, out) => { ctx.type = 'json'; ctx.body = out; },
  });
  const interaction = async (request, response, form) => {
    const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
    if (request.method === 'GET') return response.end(prompt.name);
    if (prompt.name === 'login') {
      const amr = (form.get('amr') || 'pwd').split(' ');
      const acr = amr.includes('otp') ? 'urn:test:mfa' : 'urn:test:pwd';
      const login = { accountId: form.get('as'), amr, acr };
      return provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false });
    }
    const grant = grantId
      ? await provider.Grant.find(grantId)
      : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(' '));
    if (prompt.details.missingOIDCClaims) grant.addOIDCClaims(prompt.details.missingOIDCClaims);
    for (const [resource, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
      grant.addResourceScope(resource, scopes.join(' '));
    }
    return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
  };
  const changes = {
    groups: (form) => { people.get(form.get('who')).groups = form.getAll('group'); },
    gone: (form) => { people.delete(form.get('who')); },
    rotate: (form) => renew(form.get('keep') ? keys : []),
  };
  const server = https.createServer({ key: fs.readFileSync(key), cert: fs.readFileSync(certificate) }, async (request, response) => {
    try {
      const [, first, second] = request.url.split('?')[0].split('/');
      if (first !== 'interaction' && first !== 'control') return await provider.callback()(request, response);
      let body = '';
      for await (const chunk of request) body += chunk;
      const form = new URLSearchParams(body);
      if (first === 'interaction') return await interaction(request, response, form);
      await changes[second](form);
      return response.end('ok');
    } catch (error) {
      console.error(error);
      response.statusCode = 500;
      return response.end(String(error));
    }
  });
  server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', async () => {
    issuer = `https://localhost:${server.address().port}`;
    await renew([]);
    console.log(issuer);
  });
}

function post(fields) {
  return { method: 'POST', body: new URLSearchParams(fields), redirect: 'manual' };
}

async function answer(url, fields) {
  const response = await fetch(url, post(fields));
  return response.json();
}

async function metadata(issuer) {
  const response = await fetch(`${issuer}/.well-known/openid-configuration`);
  return response.json();
}

// Follows redirects with cookies, until a page or an address outside of the issuer.
function browser(issuer) {
  const jar = new Map();
  return async (start, first = {}) => {
    let [url, init] = [start, first];
    for (let step = 0; step < 20; step += 1) {
      if (!url.startsWith(issuer)) return { url };
      const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
      const response = await fetch(url, { ...init, redirect: 'manual', headers: { cookie } });
      for (const set of response.headers.getSetCookie()) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(set);
        if (value) jar.set(name, value); else jar.delete(name);
      }
      const location = response.headers.get('location');
      const text = await response.text();
      if (!location) return { url, text, status: response.status };
      [url, init] = [new URL(location, url).href, {}];
    }
    throw new Error('too many redirects');
  };
}

// Answers the pages that ask who it is and whether that is wanted.
async function interactions(go, page, as, amr) {
  let now = page;
  for (let step = 0; step < 4 && now.status === 200 && now.url.includes('/interaction/'); step += 1) {
    now = await go(now.url, post({ as, amr }));
  }
  return now;
}

async function code(issuer, as, nonce, amr = 'pwd otp') {
  const found = await metadata(issuer);
  const verifier = crypto.randomBytes(32).toString('base64url');
  const challenge = crypto.createHash('sha256').update(verifier).digest('base64url');
  const redirect = 'http://127.0.0.1:41999/callback';
  const go = browser(issuer);
  const extra = process.env.RESOURCE ? { resource: process.env.RESOURCE } : {};
  const asked = new URLSearchParams({
    client_id: client, response_type: 'code', scope, prompt: 'consent', redirect_uri: redirect, state: 'of-this-login', nonce,
    code_challenge: challenge, code_challenge_method: 'S256', ...extra,
  });
  const page = await interactions(go, await go(`${found.authorization_endpoint}?${asked}`), as, amr);
  const given = new URL(page.url).searchParams.get('code');
  if (!given) throw new Error(`no code: ${page.url} ${page.text}`);
  console.log(JSON.stringify(await answer(found.token_endpoint, {
    client_id: client, grant_type: 'authorization_code', code: given, redirect_uri: redirect, code_verifier: verifier, ...extra,
  })));
}

async function device(issuer, as, nonce, amr = 'pwd otp') {
  const found = await metadata(issuer);
  const begun = await answer(found.device_authorization_endpoint, { client_id: client, nonce, scope });
  const go = browser(issuer);
  const xsrf = (text) => /name="xsrf" value="([^"]+)"/.exec(text)[1];
  const form = (page, more) => post({ xsrf: xsrf(page.text), user_code: begun.user_code, ...more });
  let page = await go(begun.verification_uri);
  page = await go(begun.verification_uri, form(page, {}));
  page = await go(begun.verification_uri, form(page, { confirm: 'yes' }));
  await interactions(go, page, as, amr);
  console.log(JSON.stringify(await answer(found.token_endpoint, {
    client_id: client, grant_type: 'urn:ietf:params:oauth:grant-type:device_code', device_code: begun.device_code,
  })));
}

async function control(issuer, path, ...fields) {
  const form = new URLSearchParams(fields.map((field) => field.split(/=(.*)/s).slice(0, 2)));
  const response = await fetch(`${issuer}/control/${path}`, { method: 'POST', body: form });
  if (!response.ok) throw new Error(await response.text());
}
