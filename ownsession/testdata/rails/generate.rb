# Session cookies of the real ActionDispatch::Session::CookieStore, printed as JSON. See ../README.md.
require "action_controller"
require "action_dispatch"
require "json"
require "active_support/messages/rotation_configuration"
require "rack/mock"
require "time"

BASE = "fixture secret_key_base of rails, 32 bytes and more " * 2
SALT = "authenticated encrypted cookie"

# With SHA-256 the key is what Rails 7 derives; the cookies are those of the version installed here.
def keys(base, digest)
  return ActiveSupport::CachingKeyGenerator.new(ActiveSupport::KeyGenerator.new(base, iterations: 1000)) if digest == "SHA1"
  Object.new.tap do |g|
    g.define_singleton_method(:generate_key) { |salt, size = 64| OpenSSL::PKCS5.pbkdf2_hmac(base, salt, 1000, size, OpenSSL::Digest::SHA256.new) }
  end
end

# login answers the cookie of an application with these settings after one request.
def login(name: "_shop_session", base: BASE, digest: "SHA256", salt: SALT, serializer: :json, metadata: true, expire_after: nil, other: nil)
  app = ->(env) {
    request = ActionDispatch::Request.new(env)
    if other
      request.cookie_jar.encrypted[other] = { value: { "session_id" => "0" * 32, "user_id" => 1 } }
    else
      yield request.session
    end
    [200, {}, []]
  }
  stack = ActionDispatch::Cookies.new(ActionDispatch::Session::CookieStore.new(app, key: name, expire_after: expire_after))
  env = Rack::MockRequest.env_for("http://shop.example/",
    "action_dispatch.key_generator" => keys(base, digest), "action_dispatch.secret_key_base" => base,
    "action_dispatch.authenticated_encrypted_cookie_salt" => salt, "action_dispatch.use_authenticated_cookie_encryption" => true,
    "action_dispatch.use_cookies_with_metadata" => metadata, "action_dispatch.cookies_serializer" => serializer,
    "action_dispatch.cookies_rotations" => ActiveSupport::Messages::RotationConfiguration.new)
  cookie = stack.call(env)[1]["Set-Cookie"].to_s.split("\n").find { |c| c.start_with?("#{other || name}=") }
  cookie.split(";").first.split("=", 2).last
end

devise = ->(s) { s["warden.user.user.key"] = [[17], "$2a$12$fixturefixturefixture."] }
user = ->(s) { s["user_id"] = 17; s["tenant"] = "acme" }
puts JSON.pretty_generate(
  versions: { ruby: RUBY_VERSION, actionpack: ActionPack.version.to_s, rack: Rack.release },
  made: Time.now.utc.iso8601, secret_key_base: BASE, cookie: "_shop_session",
  cookies: {
    "devise": login(&devise),
    "user_id": login(&user),
    "expire_after": login(expire_after: 86_400, &user),
    "SHA-1": login(digest: "SHA1", &user),
    "another salt": login(salt: "another salt", &user),
    "without purpose": login(metadata: false, &user),
    "without purpose, expire_after": login(metadata: false, expire_after: 86_400, &user),
    "another cookie's name": login(name: "_admin_session", &user),
    "another encrypted cookie": login(other: "basket"),
    "another secret_key_base": login(base: "another secret_key_base of rails, 32 bytes and more " * 2, &user),
    "Marshal": login(serializer: :marshal, &user),
    "Marshal, without purpose": login(serializer: :marshal, metadata: false, &user),
    "a guest": login { |s| s["basket"] = [1, 2] },
    "over in a second": login(expire_after: 1, &user),
  })
