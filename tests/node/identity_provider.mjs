// A real OpenID Connect provider on loopback: node identity_provider.mjs PORT REDIRECT_URI. Whoever types a name is that
// person; the address after `name@` is theirs, and it is verified unless the name begins with "unproved".
import Provider from "oidc-provider";

const [port, redirect] = process.argv.slice(2);
const issuer = `http://localhost:${port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "ownkey",
      client_secret: "the-secret-of-the-tests-0000000001",
      redirect_uris: [redirect],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  cookies: { keys: ["a key of the tests"] },
  features: { devInteractions: { enabled: false } },
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: id, email: id, email_verified: !id.startsWith("unproved") }),
  }),
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
});

const page = (body) => `<!doctype html><html lang="en"><title>Example</title><link rel="icon" href="data:,"><main>${body}</main>`;

provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith("/interaction/")) return next();
  const { prompt, params, session } = await provider.interactionDetails(ctx.req, ctx.res);
  const finish = (result) => provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: false });
  const letIn = async (accountId, login) => {
    const grant = new provider.Grant({ accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    await finish({ ...login, consent: { grantId: await grant.save() } });
    ctx.respond = false;
  };
  const asked = new URLSearchParams(ctx.search);
  if (asked.has("cancel")) {
    ctx.respond = false;
    return finish({ error: "access_denied", error_description: "given up" });
  }
  if (asked.has("name")) {
    const accountId = asked.get("name");
    return letIn(accountId, { login: { accountId } });
  }
  if (prompt.name !== "login") return letIn(session.accountId, {});
  ctx.type = "html";
  ctx.body = page(`<h1>Example</h1><form><label>Name <input name="name"></label> <button>Continue</button></form>
    <form><button name="cancel" value="1">Cancel</button></form>`);
});

provider.listen(Number(port), "localhost", () => console.log("ready"));
