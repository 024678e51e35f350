"""Wake-ups over RabbitMQ; needs the extra ``rabbitmq``."""

from taskscheduler.adapters.rabbitmq.wakeups import RabbitWakeUps

__all__ = ["RabbitWakeUps"]
