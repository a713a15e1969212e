"""A FastAPI application whose users bring their own LLM keys. Start it with `uvicorn server:app`."""

from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse

from ownkey import Ownkey, OwnkeyError

HERE = Path(__file__).parent


def find_user() -> str:
    """Whoever your own sign-in says is asking."""
    return "dana"


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with Ownkey.open() as ok:  # configuration from OWNKEY_* variables; without any: an embedded database
        app.state.ok = ok
        app.mount("/llm", ok.asgi())  # the gateway, the API and the panel inside this application
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def settings_page() -> FileResponse:
    return FileResponse(HERE / "settings.html")


@app.post("/panel-token")
async def make_panel_token(request: Request, user: str = Depends(find_user)) -> dict[str, str]:
    """A token of ten minutes with which the page opens the panel of its user."""
    ok, origin = request.app.state.ok, str(request.base_url).rstrip("/")
    await ok.manager.load_user_settings(user)  # at login
    made = await ok.panel_token(user, scopes=["settings", "usage"], ttl_seconds=600, origin=origin)
    return {"token": made.text}


@app.post("/ask")
async def ask(request: Request, user: str = Depends(find_user)) -> dict[str, str]:
    """A question, answered with the user's own key and by their own choice of provider."""
    messages = [{"role": "user", "content": (await request.json())["question"]}]
    try:
        reply = await request.app.state.ok.manager.chat(user, task="chat", messages=messages)
    except OwnkeyError as error:  # no key yet, a refused key, a provider that is away: the message says what to do
        raise HTTPException(error.status, {"code": error.code, "message": error.message}) from None
    return {"answer": reply.text, "provider": reply.provider, "credential": reply.credential}
