import { defineConfig, loadEnv } from "vite";
import react from "@vitejs/plugin-react";

/** Stands for your own back end: gives the page a panel token of whoever is signed in. */
function backEnd(ownkeyUrl) {
  return {
    name: "back-end",
    configureServer(server) {
      server.middlewares.use("/panel-token", async (request, response) => {
        const user = "dana"; // whoever your own sign-in says
        const answer = await fetch(`${ownkeyUrl}/api/panel-tokens`, {
          method: "POST",
          headers: {
            authorization: `Bearer ${process.env.OWNKEY_ADMIN_TOKEN}`,
            "content-type": "application/json",
          },
          body: JSON.stringify({
            user_id: user,
            scopes: ["settings", "usage"],
            ttl_seconds: 600,
            origin: `http://${request.headers.host}`,
          }),
        });
        if (!answer.ok) console.error(await answer.text()); // what is wrong with OWNKEY_ADMIN_TOKEN, say
        const { token } = answer.ok ? await answer.json() : {};
        response.statusCode = answer.ok ? 200 : 502;
        response.setHeader("content-type", "application/json");
        response.end(JSON.stringify({ token }));
      });
    },
  };
}

export default defineConfig(({ mode }) => {
  process.env.VITE_OWNKEY_URL ||= loadEnv(mode, ".").VITE_OWNKEY_URL || "http://127.0.0.1:8484";
  return { plugins: [react(), backEnd(process.env.VITE_OWNKEY_URL)] };
});
