// A backend on supertokens-node and Express, as teams write it, for the tests of this folder. It says where it listens in a
// line on standard output, and ends with its standard input.
import express from "express";
import supertokens from "supertokens-node";
import EmailPassword from "supertokens-node/recipe/emailpassword/index.js";
import EmailVerification from "supertokens-node/recipe/emailverification/index.js";
import Session from "supertokens-node/recipe/session/index.js";
import UserRoles from "supertokens-node/recipe/userroles/index.js";
import { verifySession } from "supertokens-node/recipe/session/framework/express/index.js";
import { errorHandler, middleware } from "supertokens-node/framework/express/index.js";

const {
    SUPERTOKENS_CONNECTION_URI: connectionURI, SUPERTOKENS_API_KEY: apiKey, API_DOMAIN: apiDomain, WEBSITE_DOMAIN: websiteDomain,
    ANTI_CSRF: antiCsrf,
} = process.env;
const mails = new Map(); // address → the token in the last mail to it

supertokens.init({
    framework: "express",
    supertokens: { connectionURI, apiKey: apiKey || undefined },
    appInfo: { appName: "interop", apiDomain, websiteDomain },
    recipeList: [
        EmailPassword.init(),
        EmailVerification.init({
            mode: "REQUIRED",
            emailDelivery: {
                override: (original) => ({
                    ...original,
                    sendEmail: async ({ user, emailVerifyLink }) => {
                        mails.set(user.email, new URL(emailVerifyLink).searchParams.get("token"));
                    },
                }),
            },
        }),
        Session.init({ antiCsrf }),
        UserRoles.init(),
    ],
    telemetry: false,
});

const tell = async (req, res) => {
    const { session } = req;
    res.json({
        userId: session.getUserId(), handle: session.getHandle(), tenantId: session.getTenantId(),
        payload: session.getAccessTokenPayload(), data: await session.getSessionDataFromDatabase(),
    });
};
// What an API asks of a session beside the verified address, which EmailVerification asks of every one.
const holds = (claim, value) =>
    verifySession({ overrideGlobalClaimValidators: (validators) => [...validators, claim.validators.includes(value)] });

const app = express();
app.use(middleware());
app.get("/me", verifySession(), tell);
app.get("/me/now", verifySession({ checkDatabase: true }), tell);
app.get("/admin", holds(UserRoles.UserRoleClaim, "admin"), tell);
app.get("/publish", holds(UserRoles.PermissionClaim, "publish"), tell);
app.post("/payload", verifySession(), express.json(), async (req, res) => {
    await req.session.mergeIntoAccessTokenPayload(req.body);
    await tell(req, res);
});
app.get("/mails/:address", (req, res) => res.json({ token: mails.get(req.params.address) }));
app.use(errorHandler());
app.use((err, req, res, next) => {
    console.error(req.method, req.path, err);
    res.status(500).json({ message: String(err) });
});

const listener = app.listen(0, "127.0.0.1", (err) => {
    if (err) throw err;
    console.log(`http://127.0.0.1:${listener.address().port}`);
});
// No idle connection is closed, by default after five seconds, just when the client posts on it.
listener.keepAliveTimeout = 0;
process.stdin.on("end", () => process.exit()).resume();
