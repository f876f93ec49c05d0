// An OpenID Connect issuer for the stories of identities.py: npm's `oidc-provider`, as its documentation sets it up.
//
//   node issuer.mjs '{"port": 9000, "issuer": "...", "callback": "...", "keys": [JWK, ...], "behindSecs": 0, ...}'
//
// Its own pages for development (devInteractions) let in everybody by any name. It signs with the first key, and its
// clock may be behind.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const settings = JSON.parse(process.argv[2]);
const require = createRequire(settings.modules);
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));

const now = Date.now;
Date.now = () => now() - settings.behindSecs * 1000;

const web = {
  redirect_uris: [settings.callback],
  response_types: ["code"],
  grant_types: ["authorization_code"],
  id_token_signed_response_alg: "ES256",
};
const native = {
  ...web,
  redirect_uris: ["http://127.0.0.1/app"],
  application_type: "native",
  token_endpoint_auth_method: "none",
};
const provider = new Provider(settings.issuer, {
  clients: [
    { ...web, client_id: "quckchat", client_secret: "s+cret/of:both" },
    { ...native, client_id: "our-app" },
    { ...native, client_id: "another-app" },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  cookies: { keys: ["a key of the stories"] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.org`, email_verified: true, name: `${id} of the issuer` }),
  }),
  jwks: { keys: settings.keys },
  pkce: { required: () => true },
  ttl: { IdToken: 3600 },
});
provider.listen(settings.port, "127.0.0.1", () => console.log("listening"));
