// The website and the API on two origins of one site, and on two sites. All tests run on two origins; these look at how.
import assert from "node:assert/strict";
import { apiCookies, assertSignedIn, EXCHANGE, scenario, stateOf } from "../harness.js";

const HOUR = 3600_000;
const TWO_SITES = { www: "www.app.test", api: "api.backend.test", thirdPartyCookies: true };
const list = (header) => header.toLowerCase().split(",").map((name) => name.trim()).sort();

/** A preflight was asked and answered, for exactly what the request then carried. */
async function assertPreflight(w) {
  const state = await w.state();
  const [preflight] = state.of("OPTIONS /migrate-session");
  const [request] = state.of(EXCHANGE);
  assert.ok(state.requests.indexOf(preflight) < state.requests.indexOf(request));
  assert.equal(preflight.header.origin, w.www);
  assert.equal(preflight.header["access-control-request-method"], "POST");
  const wanted = list(preflight.header["access-control-request-headers"]);
  assert.deepEqual(wanted, ["authorization", "idempotency-key", "rid", "st-auth-mode"]);
  assert.equal(preflight.header.authorization, undefined);
  assert.equal(preflight.status, 204);
  assert.equal(preflight.response["access-control-allow-origin"], w.www);
  assert.equal(preflight.response["access-control-allow-credentials"], "true");
  for (const name of wanted) assert.ok(list(preflight.response["access-control-allow-headers"]).includes(name), name);
  assert.equal(request.header.origin, w.www);
  assert.equal(request.header["st-auth-mode"], w.mode);
  assert.equal(request.header.rid, "anti-csrf");
  assert.equal(request.status, 200);
  assert.equal(request.response["access-control-allow-origin"], w.www);
  const exposed = list(request.response["access-control-expose-headers"]);
  for (const name of ["front-token", "st-access-token", "st-refresh-token", "anti-csrf"]) assert.ok(exposed.includes(name), name);
  return request;
}

/** Session, refresh and sign-out, from the page. */
async function live(w, page) {
  await assertSignedIn(page);
  await w.tell("advance", { ms: HOUR + 1000 });
  await assertSignedIn(page);
  assert.equal((await w.state()).refreshes, 1);
  await page.evaluate(() => window.page.signOut());
  assert.equal(await stateOf(page), "signed-out");
  assert.deepEqual((await w.state()).live, []);
  assert.deepEqual(await w.sessionCookies(), []);
}

scenario("www and api on two origins of one site", async (w) => {
  assert.notEqual(new URL(w.www).port, new URL(w.api).port);
  await w.signInAtLegacy();
  const { page, result } = await w.open();
  assert.equal(result.status, "migrated");
  const { response } = await assertPreflight(w);
  const cookies = await apiCookies(w);
  if (w.mode === "cookie") {
    assert.deepEqual(cookies, [["sAccessToken", "Lax", true, true], ["sRefreshToken", "Lax", true, true]]);
    assert.ok(!response["st-access-token"]);
  } else {
    assert.deepEqual(cookies, []);
    assert.ok(!response["set-cookie"]);
  }
  await live(w, page);
});

scenario("www and api on two sites", async (w) => {
  await w.signInAtLegacy();
  const { page, result } = await w.open();
  assert.equal(result.status, "migrated");
  await assertPreflight(w);
  assert.equal((await w.state()).of(EXCHANGE)[0].header["sec-fetch-site"], "cross-site");
  const cookies = await apiCookies(w);
  const both = [["sAccessToken", "None", true, true], ["sRefreshToken", "None", true, true]];
  assert.deepEqual(cookies, w.mode === "cookie" ? both : []);
  await live(w, page);
}, TWO_SITES);

scenario("www and api on two sites, in a browser that blocks the cookies of other sites", async (w) => {
  await w.signInAtLegacy();
  const { page, result } = await w.open();
  assert.equal(result.status, "migrated");
  await live(w, page);
  // In cookie mode no session can last there, wherever it comes from.
}, { ...TWO_SITES, thirdPartyCookies: false, modes: ["header"] });

scenario("two sites: what another website can send is refused", async (w) => {
  await w.signInAtLegacy();
  const { page } = await w.open();
  const before = await w.state();

  // Any website can send the cookies, and no header that would need a preflight.
  const foreign = await w.context.newPage();
  await foreign.goto(`${w.www.replace("www.app.test", "evil.test")}/style.css`);
  const post = (at, path, init) => at.evaluate(async ([url, more]) => {
    const response = await fetch(url, { method: "POST", credentials: "include", ...more });
    return response.status;
  }, [w.api + path, init]);
  for (const path of ["/auth/signout", "/auth/session/refresh"]) {
    await post(foreign, path, { mode: "no-cors" });
    const request = (await w.state()).of(`POST ${path}`).at(-1);
    assert.match(request.header.cookie, /sAccessToken=/, "the browser sent the session");
    assert.equal(request.header.rid, undefined);
    assert.equal(request.header["sec-fetch-site"], "cross-site");
    assert.equal(request.status, 401, path);
    // With the header it does not come past the preflight.
    const asked = (await w.state()).of(`POST ${path}`).length;
    await assert.rejects(post(foreign, path, { headers: { rid: "anti-csrf" } }), /Failed to fetch/);
    assert.equal((await w.state()).of(`POST ${path}`).length, asked);
  }
  // Nor can it sign the visitor in as somebody else, or learn of the session: its exchange carries no legacy token that is looked at.
  const exchanges = (await w.state()).of(EXCHANGE).length;
  await assert.rejects(post(foreign, "/migrate-session", { headers: { authorization: `Bearer ${w.legacyTokens[0]}` } }), /Failed to fetch/);
  assert.equal((await w.state()).of(EXCHANGE).length, exchanges);
  await assert.rejects(post(foreign, "/migrate-session", { body: JSON.stringify({ access_token: w.legacyTokens[0] }) }), /Failed to fetch/);
  const exchange = (await w.state()).of(EXCHANGE).at(-1);
  assert.match(exchange.header.cookie, /sAccessToken=/);
  for (const name of ["access-control-allow-origin", "set-cookie", "st-access-token"]) assert.equal(exchange.response[name], undefined, name);
  const state = await w.state();
  assert.deepEqual(state.live, before.live);
  assert.equal(state.refreshes, 0);
  await assertSignedIn(page);

  // The header alone makes the difference: from the website's own origin, without its SDK, as well.
  const own = await w.context.newPage();
  await own.goto(`${w.www}/style.css`);
  assert.equal(await post(own, "/auth/signout", {}), 401);
  assert.equal(await post(own, "/auth/signout", { headers: { rid: "anti-csrf" } }), 200);
  assert.deepEqual((await w.state()).live, []);
  // In header mode no cookie carries a session, and no other site has the tokens.
}, { ...TWO_SITES, modes: ["cookie"] });

scenario("one site: a form on another website signs nobody out", async (w) => {
  await w.signInAtLegacy();
  const { page } = await w.open();
  const cookies = await w.sessionCookies();
  assert.equal(cookies.length, 2);
  const foreign = await w.context.newPage();
  for (const path of ["/auth/session/refresh", "/auth/signout", "/migrate-session"]) {
    await foreign.goto(`${w.www.replace("www.app.test", "evil.test")}/style.css`);
    await Promise.all([
      foreign.waitForURL(w.api + path),
      foreign.evaluate((action) => {
        const form = Object.assign(document.createElement("form"), { method: "post", action });
        document.body.append(form);
        form.submit();
      }, w.api + path),
    ]);
    const [request] = (await w.state()).of(`POST ${path}`).slice(-1);
    assert.equal(request.header["sec-fetch-site"], "cross-site");
    assert.equal(request.header.cookie, undefined, "SameSite=Lax keeps the cookies from it");
    assert.equal(request.status, 401);
    // An answer to a navigation may set cookies, and so take them away.
    assert.deepEqual(await w.sessionCookies(), cookies, path);
  }
  await assertSignedIn(page);
  // In header mode no cookie carries a session.
}, { modes: ["cookie"] });
