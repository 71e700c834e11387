// What a website does: it shows who is signed in, by which session, and moves the legacy one. The query sets what tests vary.
import SuperTokens from "supertokens-web-js";
import Session from "supertokens-web-js/recipe/session";
import { migrateSession } from "../../web/index.js";

const root = document.documentElement;
const query = new URLSearchParams(location.search);
const api = root.dataset.api;
const legacy = {
  get token() {
    return localStorage.getItem("legacy.token");
  },
  end() {
    if (!query.has("keep-legacy")) localStorage.removeItem("legacy.token");
  },
};
let signedOut = false;
const events = [];

SuperTokens.init({
  appInfo: { appName: "page under test", apiDomain: api, apiBasePath: "/auth" },
  recipeList: [
    Session.init({ tokenTransferMethod: query.get("auth"), onHandleEvent: ({ action }) => void events.push(action) }),
  ],
});

function show(state, who) {
  root.dataset.state = state;
  document.querySelector("#who").textContent = who;
}

async function decide() {
  if (await Session.doesSessionExist()) show("signed-in", `Signed in: ${await Session.getUserId()}`);
  else if (legacy.token && !signedOut) show("legacy", "Signed in (legacy)");
  else show("signed-out", "Signed out");
}

async function load() {
  if (query.has("late")) {
    // The mistake that the tests must find: who is signed in is decided before the migration.
    signedOut = true;
    await decide();
    signedOut = false;
  } else if (legacy.token) {
    show("legacy", "Signed in (legacy)");
  }
  const result = await migrateSession({
    apiDomain: api,
    getLegacyToken: () => legacy.token,
    ...(query.has("by-session") && { getLegacySessionId: (token) => JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).sid }),
    endLegacySession: () => legacy.end(),
    doesSessionExist: Session.doesSessionExist,
    onSignedOut: () => {
      signedOut = true;
    },
    attempts: Number(query.get("attempts") ?? 6),
    timeoutMs: 10 * 60_000, // no test wants an answer that is late to be a lost one
  });
  await decide();
  return result;
}

window.page = {
  result: load(),
  events,
  /** Calls the protected API as whoever the page shows. */
  async me() {
    const headers = root.dataset.state === "legacy" ? { Authorization: `Bearer ${legacy.token}` } : {};
    const response = await fetch(`${api}/api/me`, { headers });
    return { status: response.status, body: await response.json() };
  },
  async signOut() {
    await Session.signOut();
    signedOut = true;
    await decide();
  },
  handle: async () => (await Session.getAccessTokenPayloadSecurely()).sessionHandle,
  accessToken: () => Session.getAccessToken(),
};
