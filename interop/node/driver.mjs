// Drives supertokens-node for the tests of this folder: a JSON request a line on standard input, a JSON answer a line on
// standard output.
import readline from "node:readline";
import supertokens from "supertokens-node";
import Session from "supertokens-node/recipe/session/index.js";

const told = (s) => ({
    userId: s.getUserId(), handle: s.getHandle(), tenantId: s.getTenantId(), payload: s.getAccessTokenPayload(),
    tokens: s.getAllSessionTokensDangerously(),
});

const calls = {
    init({ connectionURI, apiDomain, websiteDomain }) {
        supertokens.init({
            framework: "custom",
            supertokens: { connectionURI },
            appInfo: { appName: "interop", apiDomain, websiteDomain },
            recipeList: [Session.init({})],
            telemetry: false,
        });
        return {};
    },
    create: async ({ userId, payload }) =>
        told(await Session.createNewSessionWithoutRequestResponse("public", supertokens.convertToRecipeUserId(userId), payload, {}, true)),
    verify: async ({ accessToken, checkDatabase }) =>
        told(await Session.getSessionWithoutRequestResponse(accessToken, undefined, { checkDatabase, antiCsrfCheck: false })),
    refresh: async ({ refreshToken }) => told(await Session.refreshSessionWithoutRequestResponse(refreshToken, true)),
    revoke: async ({ handle }) => ({ revoked: await Session.revokeSession(handle) }),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
        const { call, ...args } = JSON.parse(line);
        answer = await calls[call](args);
    } catch (e) {
        answer = { error: e.type ?? String(e) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
}
