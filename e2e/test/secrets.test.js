// Where tokens are after a migration, and where they must not be. Every other test looks at the console and at URLs, too.
import assert from "node:assert/strict";
import { assertSignedIn, EXCHANGE, scenario, settled, until } from "../harness.js";

/** All that scripts of the page can read. */
const readable = (page) => page.evaluate(async () => ({
  local: { ...localStorage },
  session: { ...sessionStorage },
  cookies: Object.fromEntries(document.cookie.split("; ").map((c) => [c.slice(0, c.indexOf("=")), c.slice(c.indexOf("=") + 1)])),
  databases: (await indexedDB.databases()).length,
  caches: (await caches.keys()).length,
  url: location.href,
  text: document.documentElement.outerHTML,
}));

scenario("after the migration there is no token but where web-js keeps its own", async (w) => {
  await w.signInAtLegacy();
  await w.tell("hold", { routes: [EXCHANGE] });
  const { page } = await w.open({}, { wait: false });
  await until("the exchange is on its way", async () => (await w.state()).held[EXCHANGE] === 1);

  const during = await readable(page);
  const { key, hash, ...rest } = JSON.parse(during.local["stmigrate.exchange"]);
  assert.deepEqual(rest, {});
  assert.match(hash, /^[0-9a-f]{64}$/);
  assert.match(key, /^[0-9a-f-]{36}$/);
  assert.equal(during.local["legacy.token"], w.legacyTokens[0], "the legacy token stays until there is a session");

  await w.tell("release");
  assert.equal((await settled(page)).status, "migrated");
  await assertSignedIn(page);
  await until("the SDK has let go of its lock", async () =>
    !Object.keys((await readable(page)).local).some((key) => key.startsWith("browser-tabs-lock")));
  const { local, session, cookies, databases, caches, url, text } = await readable(page);

  // web-js keeps the difference between the clocks, and nothing else.
  assert.deepEqual(Object.keys(local), ["__st_clockSkewInMillis"]);
  assert.match(local.__st_clockSkewInMillis, /^-?\d{1,6}$/);
  assert.deepEqual(session, {});
  assert.equal(databases + caches, 0);
  // In cookies of the website: when the session was changed last, and the front-token, which is the access token's payload without
  // its signature; in header mode the two tokens, too.
  const always = ["sFrontToken", "st-last-access-token-update"];
  const tokens = ["st-access-token", "st-refresh-token"];
  assert.deepEqual(Object.keys(cookies).sort(), w.mode === "header" ? [...always, ...tokens].sort() : always);
  const { response } = (await w.state()).of(EXCHANGE)[0];
  const secrets = w.mode === "header"
    ? [response["st-access-token"], response["st-refresh-token"]]
    : response["set-cookie"].split("\n").map((c) => decodeURIComponent(c.slice(c.indexOf("=") + 1, c.indexOf(";"))));
  assert.equal(secrets.filter((s) => s.length > 100).length, 2);
  if (w.mode === "header") assert.deepEqual(tokens.map((name) => cookies[name]), secrets);
  const front = Buffer.from(cookies.sFrontToken, "base64").toString();
  for (const secret of [...secrets, w.legacyTokens[0]]) {
    const signature = secret.split(".").at(secret.endsWith(".V2") ? 0 : -1);
    assert.ok(signature.length > 40);
    const places = [front, text, url];
    if (w.mode === "cookie" || !secrets.includes(secret)) places.push(JSON.stringify([local, cookies]));
    for (const place of places) assert.ok(!place.includes(signature) && !place.includes(encodeURIComponent(signature)));
  }
});

scenario("a page that lets a token out is caught", async (w) => {
  await w.signInAtLegacy();
  const { page } = await w.open();
  await w.assertNoLeak();
  const [token] = w.legacyTokens;
  const caught = () => assert.rejects(w.assertNoLeak(), /a token is in the console, in a URL or in a log/);

  await page.evaluate((t) => console.log("signed in with", { deep: { down: [t] } }), token);
  await until("the message has arrived", () => w.console.some((text) => text.includes("signed in with")));
  await caught();
  w.console.length = 0;

  const tokens = (await w.sessionCookies()).map((c) => c.value);
  assert.equal(tokens.length, 2);
  for (const value of tokens) {
    await page.evaluate((v) => fetch(`/style.css?token=${v}`).then((r) => r.text()), value);
    await caught();
    w.urls.length = 0;
  }
  await w.assertNoLeak();
});
