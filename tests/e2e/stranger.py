"""A service that knows nothing of Rialto, as anybody might have one at the same broker: plain nameko."""

from nameko.rpc import rpc


class WeatherService:
    name = "weather"

    @rpc
    def of(self, city: str) -> str:
        return "rain"
