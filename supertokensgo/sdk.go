package supertokensgo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"
	"github.com/supertokens/supertokens-golang/recipe/session"
	"github.com/supertokens/supertokens-golang/recipe/session/sessmodels"
	"github.com/supertokens/supertokens-golang/supertokens"

	"github.com/stmigrate/stmigrate"
)

// contextKey is where a user context holds the context of the call that it was made for.
const contextKey = "stmigrate.context"

// NetworkInterceptor ends the SDK's requests to the core when the exchange that makes them gives up; the SDK has no context and
// no timeout of its own. Set it as ConnectionInfo.NetworkInterceptor, or call it from yours. Without it what is given up is
// given up all the same, but goes on in the background until the core answers.
//
// It does not reach the SDK's fetches of the core's public keys, nor calls that are not this package's.
func NetworkInterceptor(r *http.Request, uc supertokens.UserContext) (*http.Request, error) {
	if uc != nil {
		if ctx, ok := (*uc)[contextKey].(context.Context); ok {
			return r.WithContext(ctx), nil
		}
	}
	return r, nil
}

// userContext returns a user context for one chain of calls. It must not be shared: the SDK writes to it without a lock. As one
// of an API it keeps the SDK from writing to a variable of the whole process, which it does without a lock as well.
func userContext(ctx context.Context, r *http.Request) supertokens.UserContext {
	uc := supertokens.MakeDefaultUserContextFromAPI(r)
	(*uc)[contextKey] = ctx
	return uc
}

type result[T any] struct {
	value T
	err   error
}

// start runs f, which calls the SDK. What it panics with is an error.
func start[T any](ctx context.Context, s *Sessions, r *http.Request, f func(supertokens.UserContext) (T, error)) <-chan result[T] {
	done := make(chan result[T], 1)
	s.calls.Go(func() {
		var out result[T]
		out.err = guard(func() (err error) {
			out.value, err = f(userContext(ctx, r))
			return err
		})
		done <- out
	})
	return done
}

// call is start for what may be left to itself when ctx ends.
func call[T any](ctx context.Context, s *Sessions, f func(supertokens.UserContext) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, gaveUp(err)
	}
	select {
	case out := <-start(ctx, s, nil, f):
		if out.err != nil {
			return none, sdkError(out.err)
		}
		return out.value, nil
	case <-ctx.Done():
		return none, gaveUp(ctx.Err())
	}
}

// guard turns a panic of the SDK, which asserts types of what it did not check, into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("supertokens-golang panicked: %v", p)
		}
	}()
	return f()
}

func gaveUp(err error) error {
	return fmt.Errorf("%w: supertokens-golang: %w", stmigrate.ErrUnavailable, err)
}

// sdkError gives an error of the SDK its class here. It does not wrap it: the SDK's ErrorHandler panics for its own errors when
// they are wrapped.
func sdkError(err error) error {
	if errors.Is(err, stmigrate.ErrUnavailable) {
		return err
	}
	transport := (*url.Error)(nil)
	switch {
	case errors.As(err, &transport): // without its URL, which tells whose session it is
		return fmt.Errorf("%w: supertokens-golang: %s: %v", stmigrate.ErrUnavailable, transport.Op, transport.Err)
	case unavailable(err):
		return fmt.Errorf("%w: supertokens-golang: %v", stmigrate.ErrUnavailable, err)
	case err.Error() == "UNKNOWN_USER_ID":
		return fmt.Errorf("%w: the emailverification recipe knows no address of this user: import the user first, or tell it "+
			"by Override or GetEmailForUserID", stmigrate.ErrUnknownUser)
	}
	return fmt.Errorf("supertokens-golang: %v", err)
}

// unavailable tells whether there was no core to be asked, or it answered with a failure of its own.
func unavailable(err error) bool {
	if _, status := coreStatus(err); status != 0 {
		return status >= http.StatusInternalServerError || status == http.StatusTooManyRequests
	}
	return strings.Contains(err.Error(), "no SuperTokens core available to query")
}

var coreAnswer = regexp.MustCompile(`^SuperTokens core threw an error for a request to path: '([^']*)' with status code: ([0-9]{3}) `)

// coreStatus reads what the core answered, and to which path, from an error's text, since the SDK has it nowhere else.
func coreStatus(err error) (path string, status int) {
	found := coreAnswer.FindStringSubmatch(err.Error())
	if found == nil {
		return "", 0
	}
	status, _ = strconv.Atoi(found[2])
	return found[1], status
}

// maxToken is more than any access token takes that a cookie or a header can carry.
const maxToken = 16 << 10

var (
	errForeign = errors.New("not an access token of SuperTokens")
	// errPoison: the SDK panics when it sees this token, or would, for all that was read of it.
	errPoison = errors.New("a token that supertokens-golang cannot read")
)

// parse reads an access token as the SDK does, without any proof that it is genuine.
func parse(token string) (parsed sessmodels.ParsedJWTInfo, err error) {
	if len(token) > maxToken {
		return parsed, errPoison
	}
	if guard(func() error {
		parsed, err = session.ParseJWTWithoutSignatureVerification(token)
		if err == nil {
			err = session.ValidateAccessTokenStructure(parsed.Payload, parsed.Version)
		}
		return nil
	}) != nil {
		return parsed, errPoison
	}
	if err != nil {
		return parsed, errForeign
	}
	return parsed, nil
}

// carried is an access token that a request carries.
type carried struct {
	raw     string
	method  sessmodels.TokenTransferMethod
	expired bool
	*session.AccessTokenInfoStruct
}

// find returns the access token that the SDK's GetSession would go by, checked by the core's keys. It is nil where there is none that
// is genuine, and an error where the keys cannot be had. Whether its session is live, it does not ask.
func find(ctx context.Context, r *http.Request, uc supertokens.UserContext) (*carried, error) {
	recipe, err := session.GetRecipeInstanceOrThrowError()
	if err != nil {
		return nil, err
	}
	if len(r.CookiesNamed("sIdRefreshToken")) > 0 {
		return nil, nil // a session of an SDK of old, which is to be refreshed first
	}
	allowed := recipe.Config.GetTokenTransferMethod(r, false, uc)
	for _, method := range []sessmodels.TokenTransferMethod{sessmodels.HeaderTransferMethod, sessmodels.CookieTransferMethod} {
		if allowed != sessmodels.AnyTransferMethod && allowed != method {
			continue
		}
		token, err := session.GetToken(r, sessmodels.AccessToken, method)
		if err != nil || token == nil {
			continue
		}
		parsed, err := parse(*token)
		if err != nil {
			continue
		}
		if method == sessmodels.CookieTransferMethod && len(r.CookiesNamed(accessCookie)) > 1 {
			return nil, nil
		}
		info, expired, err := verify(ctx, parsed, recipe.Config)
		if err != nil || info == nil {
			return nil, err
		}
		return &carried{*token, method, expired, info}, nil
	}
	return nil, nil
}

// sdkKeys guards what the SDK writes without a lock when it fetches the core's keys, in programs that have the flags of tests. A fetch
// may take a minute, and those that wait for it come one after the other.
var sdkKeys sync.Mutex

// verify checks an access token by the core's keys. It is nil for one that is not genuine, and an error where the keys cannot be had.
func verify(
	ctx context.Context, parsed sessmodels.ParsedJWTInfo, config sessmodels.TypeNormalisedInput,
) (info *session.AccessTokenInfoStruct, expired bool, err error) {
	sdkKeys.Lock()
	if err := ctx.Err(); err != nil { // nobody waits any more
		sdkKeys.Unlock()
		return nil, false, gaveUp(err)
	}
	keys, err := session.GetCombinedJWKS()
	sdkKeys.Unlock()
	if err != nil {
		return nil, false, fmt.Errorf("%w: the core's keys: %v", stmigrate.ErrUnavailable, err)
	}
	if info, err = session.GetInfoFromAccessToken(parsed, keys, false); err != nil {
		info = lapsed(parsed, keys.Keyfunc)
		expired = info != nil
	}
	dynamic := parsed.KID != nil && strings.HasPrefix(*parsed.KID, "d-")
	if info == nil || parsed.Version >= 3 && dynamic != config.UseDynamicAccessTokenSigningKey {
		return nil, false, nil
	}
	return info, expired, nil
}

// lapsed reads an access token that has expired and is genuine otherwise; nil for any other. The SDK has no way to do that.
func lapsed(parsed sessmodels.ParsedJWTInfo, keys jwt.Keyfunc) *session.AccessTokenInfoStruct {
	var claims struct {
		jwt.RegisteredClaims
		Handle   string  `json:"sessionHandle"`
		AntiCSRF *string `json:"antiCsrfToken"`
	}
	strict := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}))
	_, err := strict.ParseWithClaims(parsed.RawTokenString, &claims, keys)
	if parsed.Version < 3 || !errors.Is(err, jwt.ErrTokenExpired) || claims.ExpiresAt == nil || claims.Handle == "" {
		return nil
	}
	return &session.AccessTokenInfoStruct{
		SessionHandle: claims.Handle, UserID: claims.Subject, UserData: parsed.Payload, AntiCsrfToken: claims.AntiCSRF,
		ExpiryTime: uint64(claims.ExpiresAt.UnixMilli()),
	}
}

const (
	authorization = "Authorization"
	accessCookie  = "sAccessToken"
	refreshCookie = "sRefreshToken"
)

// withoutForeign returns r as the SDK may see it: without a bearer token that is none of SuperTokens, which the SDK would panic
// at, take for a refresh token, or answer with empty tokens, and without access cookies that it would panic at. It is r itself
// where there is no such thing.
func withoutForeign(r *http.Request) *http.Request {
	bearer, _ := session.GetToken(r, sessmodels.AccessToken, sessmodels.HeaderTransferMethod)
	foreign := bearer != nil && !isOurs(*bearer)
	cookie, _ := session.GetToken(r, sessmodels.AccessToken, sessmodels.CookieTransferMethod)
	poison := false
	if cookie != nil {
		_, err := parse(*cookie)
		poison = errors.Is(err, errPoison)
	}
	if !foreign && !poison {
		return r
	}
	out := r.WithContext(r.Context())
	out.Header = r.Header.Clone()
	if foreign {
		out.Header.Del(authorization)
	}
	if poison {
		out.Header.Del("Cookie")
		for _, c := range r.Cookies() {
			if c.Name != accessCookie {
				out.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value, Quoted: c.Quoted})
			}
		}
	}
	return out
}

var refreshToken = regexp.MustCompile(`^[^.]+\.[^.]+\.V[0-9]$`)

// isOurs tells by its form whether a bearer token is an access or a refresh token of SuperTokens.
func isOurs(token string) bool {
	_, err := parse(token)
	return err == nil || errors.Is(err, errForeign) && refreshToken.MatchString(token)
}
