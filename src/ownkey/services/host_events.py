"""What the host application hears of: by its webhook, and by callbacks in a process that embeds Ownkey."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping

from msgspec import structs

from ownkey.domain.event import Event
from ownkey.domain.event_text import describe_event
from ownkey.domain.provider import Provider
from ownkey.services.event_delivery import DeliveryFailed, EventDelivery
from ownkey.services.webhook import Webhook
from ownkey.storage.database import Database

Callback = Callable[[Event], Awaitable[None] | None]

logger = logging.getLogger(__name__)


class HostEvents:
    """Both ways out. Without a webhook and without callbacks nothing is stored for this process."""

    def __init__(self, database: Database, catalog: Mapping[str, Provider], webhook: Webhook | None) -> None:
        self._catalog, self._webhook = catalog, webhook
        self._callbacks: list[Callback] = []
        self.webhook_delivery = EventDelivery(database, "webhook", self._post)
        self.callback_delivery = EventDelivery(database, "callback", self._call)

    def start(self) -> None:
        """Begin to deliver to the webhook, if there is one."""
        if self._webhook is not None:
            self.webhook_delivery.start()

    def wake(self) -> None:
        """There is something new."""
        self.webhook_delivery.wake()
        self.callback_delivery.wake()

    async def close(self) -> None:
        """Stop delivering."""
        await self.webhook_delivery.close()
        await self.callback_delivery.close()
        if self._webhook is not None:
            await self._webhook.close()

    def add_callback(self, callback: Callback) -> Callable[[], None]:
        """Call this for every event from a moment from now on; what is returned ends that."""
        self._callbacks.append(callback)
        self.callback_delivery.start()

        def remove() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)
            if not self._callbacks:
                self.callback_delivery.stop()

        return remove

    async def _post(self, event: Event) -> None:
        if self._webhook is None:
            raise DeliveryFailed("this process has no webhook")
        await self._webhook.deliver(self._tell(event))

    async def _call(self, event: Event) -> None:
        """Raises DeliveryFailed when a callback raises: the event is handed over again, to all of them."""
        if not self._callbacks:
            raise DeliveryFailed("this process has no callback any more")
        told = self._tell(event)
        for callback in tuple(self._callbacks):
            try:
                outcome = callback(told)
                if inspect.isawaitable(outcome):
                    await outcome
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.exception("a callback failed on event %s", event.id)
                raise DeliveryFailed(f"a callback raised {type(error).__name__}") from None

    def _tell(self, event: Event) -> Event:
        """The event with what only this process knows: the provider's name, and a sentence for people."""
        provider = self._catalog.get(str(event.data.get("provider", "")))
        label = provider.label if provider else event.data.get("provider")
        data = dict(event.data)
        if label is not None:
            data["provider_label"] = label
        message = describe_event(event.type, data)
        return structs.replace(event, data=data if message is None else {**data, "message": message})
