"""Signs people in and tokens as Supabase Auth does, for trying the example without a project.

python local_auth.py 9999            # ES256 with a key set, as new projects do
python local_auth.py 9999 HS256      # the legacy secret, here SUPABASE_JWT_SECRET
"""

import json
import os
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from joserfc import jwk, jwt

PORT, ALGORITHM = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "ES256"
ISSUER = f"http://127.0.0.1:{PORT}/auth/v1"
if ALGORITHM == "HS256":
    KEY = jwk.OctKey.import_key(os.environ["SUPABASE_JWT_SECRET"])
else:
    KEY = jwk.ECKey.generate_key("P-256", {"kid": str(uuid.uuid4()), "alg": "ES256", "use": "sig"})


def make_session(email: str) -> dict[str, object]:
    """The answer to a sign-in, with the claims of a Supabase access token."""
    now, seconds = int(time.time()), 3600
    user = {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, email)), "aud": "authenticated", "role": "authenticated"}
    user |= {"email": email, "app_metadata": {"provider": "email"}, "user_metadata": {}}
    claims = {
        "iss": ISSUER,
        "sub": user["id"],
        "aud": user["aud"],
        "exp": now + seconds,
        "iat": now,
        "email": email,
        "phone": "",
        "app_metadata": user["app_metadata"],
        "user_metadata": user["user_metadata"],
        "role": user["role"],
        "aal": "aal1",
        "amr": [{"method": "password", "timestamp": now}],
        "session_id": str(uuid.uuid4()),
        "is_anonymous": False,
    }
    header = {"alg": ALGORITHM, "typ": "JWT"} | ({"kid": KEY.kid} if KEY.kid else {})
    token = jwt.encode(header, claims, KEY, algorithms=[ALGORITHM])
    session = {"access_token": token, "token_type": "bearer", "expires_in": seconds, "expires_at": now + seconds}
    return session | {"refresh_token": uuid.uuid4().hex, "user": user}


class Auth(BaseHTTPRequestHandler):
    """The three doors of Supabase Auth that the example and Ownkey use."""

    def do_OPTIONS(self) -> None:
        self.answer(204, None)

    def do_GET(self) -> None:
        if self.path.endswith("/.well-known/jwks.json"):
            keys = [] if ALGORITHM == "HS256" else [KEY.as_dict(private=False)]
            self.answer(200, {"keys": keys})
        else:
            self.answer(404, {"message": "not found"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
        if self.path.startswith("/auth/v1/token") and asked.get("password") == "open sesame":
            self.answer(200, make_session(asked["email"]))
        else:
            self.answer(400, {"code": "invalid_credentials", "message": "Invalid login credentials"})

    def answer(self, status: int, body: object) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("access-control-allow-origin", "*")
        self.send_header("access-control-allow-headers", "*, authorization")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Auth).serve_forever()
