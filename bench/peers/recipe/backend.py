"""The backend of the original design, filled in where the design leaves out what it imports."""

import logging
import os
from collections.abc import Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from typing import Annotated, Any, Dict, Optional
from uuid import UUID

import httpx
import jwt
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel
from sqlmodel import Field, Session, SQLModel, create_engine

logging.basicConfig(level=logging.INFO)
logger = logging.getLogger(__name__)

DAPR_HTTP_PORT = int(os.environ["DAPR_HTTP_PORT"])
PUBSUB_NAME = "kafka-pubsub"
TOPIC_PREFIX = "task-events"

engine = create_engine(os.environ["DATABASE_URL"])


class TaskCreate(SQLModel):
    title: str
    description: Optional[str] = None
    priority_id: Optional[int] = None
    due_date: Optional[datetime] = None


class Task(TaskCreate, table=True):
    id: Optional[int] = Field(default=None, primary_key=True)
    user_id: UUID = Field(index=True)
    completed: bool = False
    created_at: datetime = Field(default_factory=lambda: datetime.now(timezone.utc))
    updated_at: datetime = Field(default_factory=lambda: datetime.now(timezone.utc))


class TaskRead(TaskCreate):
    id: int
    user_id: UUID
    completed: bool
    created_at: datetime
    updated_at: datetime


class TaskCreatedEvent(BaseModel):
    """Event published when a task is created."""

    task_id: int
    user_id: str
    title: str
    priority_id: Optional[int] = None
    due_date: Optional[str] = None
    created_at: str


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


def get_current_user(authorization: Annotated[str, Header()]) -> UUID:
    try:
        # Tokens that are for this system, too, say whom they are for.
        options = {"verify_aud": False}
        token = authorization.removeprefix("Bearer ")
        claims = jwt.decode(token, os.environ["JWT_SECRET"], algorithms=["HS256"], options=options)
    except jwt.InvalidTokenError as error:
        raise HTTPException(status_code=401, detail="Invalid token") from error
    return UUID(claims["sub"])


async def publish_event(event_type: str, data: Dict[str, Any]) -> None:
    url = f"http://localhost:{DAPR_HTTP_PORT}/v1.0/publish/{PUBSUB_NAME}/{TOPIC_PREFIX}.{event_type}"

    try:
        async with httpx.AsyncClient() as client:
            response = await client.post(url, json=data, timeout=5.0)
            response.raise_for_status()
            logger.info(f"Published event: {event_type} - {data}")
    except httpx.HTTPError as e:
        logger.error(f"Failed to publish event {event_type}: {str(e)}")
        raise


router = APIRouter(prefix="/api")


@router.post("/{user_id}/tasks", status_code=201)
async def create_task(
    user_id: UUID,
    task_data: TaskCreate,
    current_user: Annotated[UUID, Depends(get_current_user)],
    session: Annotated[Session, Depends(get_session)],
) -> TaskRead:
    # Authorization check
    if user_id != current_user:
        raise HTTPException(status_code=403, detail="Access forbidden")

    # Create task in database
    new_task = Task(user_id=current_user, **task_data.dict())
    session.add(new_task)
    session.commit()
    session.refresh(new_task)

    # Publish event (async, non-blocking)
    try:
        event = TaskCreatedEvent(
            task_id=new_task.id,
            user_id=str(new_task.user_id),
            title=new_task.title,
            priority_id=new_task.priority_id,
            due_date=new_task.due_date.isoformat() if new_task.due_date else None,
            created_at=new_task.created_at.isoformat(),
        )
        await publish_event("task_created", event.dict())
    except Exception as e:
        # Log error but don't fail request
        logger.error(f"Failed to publish task_created event: {str(e)}")

    return TaskRead.from_orm(new_task)


@asynccontextmanager
async def lifespan(_app: FastAPI):
    SQLModel.metadata.create_all(engine)
    yield


app = FastAPI(title="Tasks", lifespan=lifespan)
app.include_router(router)


@app.get("/health")
async def health():
    return {"status": "healthy"}
