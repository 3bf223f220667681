// An identity provider: `run PORT ISSUER CERTIFICATE KEY`, over TLS at 127.0.0.1. Its client is `jit-login`, and its people are
// those below, who log in by their name alone.
//
//   /control/groups?who=NAME&group=GROUP…   somebody's groups
//   /control/gone?who=NAME                  somebody is no longer there
//   /control/rotate                         other keys, without the ones before
//   /control/withhold                       no more ID tokens for refresh tokens
//   /control/logouts?to=ADDRESS             where logout tokens go; other keys too
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider } from 'oidc-provider';

const [port, issuer, certificate, key] = process.argv.slice(2);
const people = new Map([
  ['frieda', ['/payments-oncall']],
  ['greta', ['/payments-leads']],
  ['alice', ['/payments-oncall', '/payments-leads']],
]);
let generation = 0;
let withholds = false;

async function keys() {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  generation += 1;
  return [{ ...(await exportJWK(privateKey)), kid: `k${generation}`, alg: 'ES256', use: 'sig' }];
}

const configuration = {
  cookies: { keys: ['for tests only'] },
  clients: [{
    client_id: 'jit-login', application_type: 'native', token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
    response_types: ['code'], redirect_uris: ['http://127.0.0.1/callback'], id_token_signed_response_alg: 'ES256',
  }],
  scopes: ['openid', 'profile', 'groups'],
  claims: { openid: ['sub', 'auth_time', 'amr', 'acr'], profile: ['preferred_username'], groups: ['groups'] },
  // Otherwise the claims of the scopes are only at the userinfo endpoint.
  conformIdTokenClaims: false,
  rotateRefreshToken: true,
  issueRefreshToken: async (context, client) => client.grantTypeAllowed('refresh_token'),
  features: {
    devInteractions: { enabled: false }, deviceFlow: { enabled: true }, revocation: { enabled: true },
    backchannelLogout: { enabled: true },
  },
  // Its own way out refuses addresses that are not public, such as that of the front end under test.
  fetch: (url, options) => fetch(url, { ...options, dispatcher: undefined }),
  interactions: { url: (context, interaction) => `/interaction/${interaction.uid}` },
  async findAccount(context, id) {
    const groups = people.get(id);
    // No groups are an absent claim, as Keycloak has it.
    const claims = { sub: id, preferred_username: id, ...(groups?.length && { groups }) };
    return groups && { accountId: id, claims: async () => claims };
  },
};

// Tokens and sessions are kept for the whole process, so a provider with other keys goes on with them.
async function begin() {
  const begun = new Provider(issuer, { ...configuration, jwks: { keys: await keys() } });
  begun.use(async (context, next) => {
    await next();
    if (withholds && context.oidc?.params?.grant_type === 'refresh_token') delete context.body.id_token;
  });
  return begun;
}

let provider = await begin();

const controls = {
  '/control/groups': (query) => people.set(query.get('who'), query.getAll('group')),
  '/control/gone': (query) => people.delete(query.get('who')),
  '/control/rotate': async () => { provider = await begin(); },
  '/control/withhold': () => { withholds = true; },
  '/control/logouts': async (query) => {
    Object.assign(configuration.clients[0], {
      backchannel_logout_uri: query.get('to'), backchannel_logout_session_required: true,
    });
    provider = await begin();
  },
};

async function interact(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    return response.end(`<form method=post><input name=as><button>${prompt.name}</button></form>`);
  }
  let body = '';
  for await (const chunk of request) body += chunk;
  if (prompt.name === 'login') {
    const accountId = new URLSearchParams(body).get('as');
    return provider.interactionFinished(request, response, { login: { accountId, amr: ['pwd', 'otp'] } });
  }
  const grant = grantId ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope((prompt.details.missingOIDCScope ?? []).join(' '));
  grant.addOIDCClaims(prompt.details.missingOIDCClaims ?? []);
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

https.createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, async (request, response) => {
  try {
    const { pathname, searchParams } = new URL(request.url, issuer);
    if (controls[pathname]) {
      await controls[pathname](searchParams);
      return response.end('ok');
    }
    return await (pathname.startsWith('/interaction/') ? interact : provider.callback())(request, response);
  } catch (error) {
    response.statusCode = 500;
    return response.end(String(error));
  }
}).listen(Number(port), '127.0.0.1', () => console.log('ready'));
