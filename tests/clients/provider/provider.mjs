// An identity provider: `run PORT CERTIFICATE KEY`, over TLS at 127.0.0.1. Its client is `jit-login`, and its people are
// those below, who log in by their name alone. `/control/groups?who=NAME&group=GROUP…` changes somebody's groups,
// and `/control/gone?who=NAME` removes somebody.
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider } from 'oidc-provider';

const [port, certificate, key] = process.argv.slice(2);
const issuer = `https://127.0.0.1:${port}`;
const people = new Map([
  ['frieda', ['/payments-oncall']],
  ['greta', ['/payments-leads']],
  ['alice', ['/payments-oncall', '/payments-leads']],
]);
const { privateKey } = await generateKeyPair('ES256', { extractable: true });

const provider = new Provider(issuer, {
  jwks: { keys: [{ ...(await exportJWK(privateKey)), kid: 'k1', alg: 'ES256', use: 'sig' }] },
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
  features: { devInteractions: { enabled: false }, deviceFlow: { enabled: true }, revocation: { enabled: true } },
  interactions: { url: (context, interaction) => `/interaction/${interaction.uid}` },
  async findAccount(context, id) {
    const groups = people.get(id);
    return groups && { accountId: id, claims: async () => ({ sub: id, preferred_username: id, groups }) };
  },
});

async function interact(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
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
    if (pathname === '/control/groups') {
      people.set(searchParams.get('who'), searchParams.getAll('group'));
      return response.end('ok');
    }
    if (pathname === '/control/gone') {
      people.delete(searchParams.get('who'));
      return response.end('ok');
    }
    return await (pathname.startsWith('/interaction/') ? interact : provider.callback())(request, response);
  } catch (error) {
    response.statusCode = 500;
    return response.end(String(error));
  }
}).listen(Number(port), '127.0.0.1', () => console.log('ready'));
