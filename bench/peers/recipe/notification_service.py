"""
The notification service of the original design, with what it needs to work at all: `/dapr/subscribe` answers GET, as Dapr
asks by it. Log lines have the time, to be measured by.
"""

import logging
from typing import Any, Dict

from fastapi import FastAPI
from pydantic import BaseModel

logging.basicConfig(level=logging.INFO, format="%(created).6f %(levelname)s:%(name)s:%(message)s")
logger = logging.getLogger(__name__)

app = FastAPI(title="Notification Service")


class CloudEvent(BaseModel):
    id: str
    source: str
    type: str
    datacontenttype: str
    data: Dict[str, Any]


@app.get("/health")
async def health():
    return {"status": "healthy"}


@app.get("/dapr/subscribe")
async def subscribe():
    return [
        {"pubsubname": "kafka-pubsub", "topic": f"task-events.{type}", "route": f"/events/{type.replace('_', '-')}"}
        for type in ("task_created", "task_updated", "task_completed")
    ]


@app.post("/events/task-created")
async def handle_task_created(event: CloudEvent):
    task_data = event.data
    logger.info(f"📨 NEW TASK: {task_data['title']} (User: {task_data['user_id']})")
    return {"status": "SUCCESS"}


@app.post("/events/task-updated")
async def handle_task_updated(event: CloudEvent):
    task_data = event.data
    logger.info(f"📝 TASK UPDATED: ID {task_data['task_id']}")
    return {"status": "SUCCESS"}


@app.post("/events/task-completed")
async def handle_task_completed(event: CloudEvent):
    task_data = event.data
    logger.info(f"✅ TASK COMPLETED: ID {task_data['task_id']}")
    return {"status": "SUCCESS"}
