"""A Django application whose users bring their own LLM keys; Ownkey runs beside it. `python site.py runserver`."""

import json
import os
import sys
from pathlib import Path
from urllib.request import Request, urlopen

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import JsonResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_POST

OWNKEY_URL = os.environ.get("OWNKEY_URL", "http://127.0.0.1:8484")

settings.configure(
    DEBUG=True,
    SECRET_KEY=os.environ.get("SECRET_KEY", "only-for-trying-it-out"),
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [Path(__file__).parent / "templates"],
            "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
        }
    ],
)


def sign_in(request):
    """Your own sign-in; this one believes whatever name it is given."""
    if request.method == "POST":
        request.session["user"] = request.POST["name"]
        return redirect("/")
    return render(request, "sign_in.html")


def settings_page(request):
    if "user" not in request.session:
        return redirect("/sign-in")
    return render(request, "settings.html", {"user": request.session["user"], "ownkey_url": OWNKEY_URL})


@require_POST
def panel_token(request):
    """A token of ten minutes for the user of this session. The administrator's token stays on this server."""
    if "user" not in request.session:
        return JsonResponse({"error": "sign in first"}, status=401)
    wanted = {
        "user_id": request.session["user"],
        "scopes": ["settings", "usage"],
        "ttl_seconds": 600,
        "origin": f"{request.scheme}://{request.get_host()}",
    }
    headers = {"Authorization": f"Bearer {os.environ['OWNKEY_ADMIN_TOKEN']}", "Content-Type": "application/json"}
    asked = Request(f"{OWNKEY_URL}/api/panel-tokens", json.dumps(wanted).encode(), headers)
    with urlopen(asked, timeout=10) as answer:
        return JsonResponse({"token": json.load(answer)["token"]})


urlpatterns = [path("", settings_page), path("sign-in", sign_in), path("panel-token", panel_token)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
