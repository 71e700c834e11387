# Rows and cookies of the real django.contrib.sessions, printed as JSON. See ../README.md.
import json
import sys
from datetime import datetime, timezone

import django
from django.conf import settings

KEY = "fixture SECRET_KEY of django, 50 characters and more of it"
OLD = "previous fixture SECRET_KEY of django, 50 characters or more"
PASSWORD = "pbkdf2_sha256$260000$fixture$fixture0123456789"

settings.configure(
    SECRET_KEY=KEY, USE_TZ=True, SESSION_COOKIE_AGE=1209600, DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()

from django.contrib.auth import login
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends import db, signed_cookies
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.core import signing
from django.test import RequestFactory, override_settings

call_command("migrate", verbosity=0)
user = User.objects.create(id=7, username="ada", password=PASSWORD)


def session(engine, visitor=user, big=False, **more):
    """What login of django.contrib.auth leaves behind."""
    request = RequestFactory().get("/")
    request.session, request.user = engine.SessionStore(), AnonymousUser()
    if visitor:
        login(request, visitor, backend="django.contrib.auth.backends.ModelBackend")
    request.session.update(more)
    if big:
        request.session["filler"] = "x" * (2 << 20)
    request.session.save()
    return request.session


def row(**options):
    with override_settings(**options.pop("settings", {})):
        key = session(db, **options).session_key
        s = Session.objects.get(session_key=key)
        return {"key": key, "data": s.session_data, "expires": s.expire_date.isoformat()}


def cookie(**options):
    with override_settings(**options.pop("settings", {})):
        return session(signed_cookies, **options).session_key


pickle = {"SESSION_SERIALIZER": "django.contrib.sessions.serializers.PickleSerializer"}
other = {"SECRET_KEY": "another SECRET_KEY of django, 50 characters and more of it"}
print(json.dumps({
    "versions": {"python": sys.version.split()[0], "django": django.get_version()},
    "made": datetime.now(timezone.utc).isoformat(timespec="seconds"), "secret_keys": [KEY, OLD], "password": PASSWORD,
    "rows": {
        "login": row(),
        "compressed": row(note="a" * 500),
        "the previous key": row(settings={"SECRET_KEY": OLD}),
        "another key": row(settings=other),
        "a guest": row(visitor=None, basket=[1, 2]),
        "pickle": row(settings=pickle),
        "pickle, compressed": row(settings=pickle, note="a" * 500),
        "before 3.1": row(settings={"DEFAULT_HASHING_ALGORITHM": "sha1"}),
        "2 MiB of data": row(big=True),
    },
    "cookies": {
        "login": cookie(login_id="1f9a7c52b0e84d3f", login_at=1760000000.25),
        "compressed": cookie(login_id="1f9a7c52b0e84d3f", note="a" * 500),
        "no ID": cookie(),
        "the previous key": cookie(settings={"SECRET_KEY": OLD}, login_id="1f9a7c52b0e84d3f"),
        "another key": cookie(settings=other, login_id="1f9a7c52b0e84d3f"),
        "another salt": signing.dumps({"_auth_user_id": "7", "login_id": "1f9a7c52b0e84d3f"}, salt="django.core.signing", compress=True),
        "a guest": cookie(visitor=None, login_id="1f9a7c52b0e84d3f"),
        "pickle": cookie(settings=pickle, login_id="1f9a7c52b0e84d3f"),
        "2 MiB of data": cookie(big=True, login_id="1f9a7c52b0e84d3f"),
    },
}, indent=1))
