"""Handlers that do what a worker does not like, as ``--app stubborn:handlers`` finds them."""

from __future__ import annotations

from typing import Final

STUBBORN: Final = '''\
import asyncio
import multiprocessing
import os
import sys
import time
from datetime import timedelta

from taskscheduler import Handlers, RetryPolicy

handlers = Handlers()
SOON = RetryPolicy(max_attempts=2, base=timedelta(milliseconds=10))
fork = multiprocessing.get_context("fork")


def spin():
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        pass


def say(line):
    print(line + "\\n", end="", flush=True)


@handlers.register("Quick")
async def quick(context):
    say("Quick")


@handlers.register("Thread")
def thread(context):
    """Keeps a thread busy, and hears nothing."""
    say("begun")
    spin()


@handlers.register("Sleep")
def sleep(context):
    """Keeps a thread asleep."""
    say("begun")
    time.sleep(300)


@handlers.register("ToThread")
async def to_thread(context):
    """Keeps a thread of the loop's own busy."""
    say("begun")
    await asyncio.to_thread(spin)


@handlers.register("Loop")
async def loop(context):
    """Keeps the loop from turning."""
    say("begun")
    spin()


@handlers.register("Terminates", retry=SOON)
def terminates(context):
    """Ends a child that it has forked, over and over."""
    for _ in range(5):
        child = fork.Process(target=time.sleep, args=[60])
        child.start()
        child.terminate()
        child.join(20)
        assert child.exitcode == -15, child.exitcode
    say("terminated")


@handlers.register("Pools", retry=SOON)
def pools(context):
    """Leaves a pool by the exit that ends its processes."""
    with fork.Pool(2) as pool:
        say(f"pooled {sum(pool.map(abs, [-1, -2, -3]))}")


@handlers.register("PoolsOnTheLoop", retry=SOON)
async def pools_on_the_loop(context):
    with fork.Pool(2) as pool:
        say(f"pooled {sum(pool.map(abs, [-1, -2, -3]))}")


@handlers.register("ForksAndReturns", retry=SOON)
def forks_and_returns(context):
    """Lets a child come back from the handler, as if it were the worker."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        say(f"waited {os.waitstatus_to_exitcode(status)}")
    elif context.attempt == 1:
        sys.exit(7)


@handlers.register("Interrupt", retry=SOON)
async def interrupt(context):
    raise KeyboardInterrupt


@handlers.register("InterruptThread", retry=SOON)
def interrupt_thread(context):
    raise KeyboardInterrupt


@handlers.register("ExitOfAChildTask", retry=SOON)
async def exit_of_a_child_task(context):
    async def child():
        sys.exit("enough")

    await asyncio.gather(child())


@handlers.register("InterruptOfAChildTask", retry=SOON)
async def interrupt_of_a_child_task(context):
    async def child():
        raise KeyboardInterrupt

    async with asyncio.TaskGroup() as group:
        group.create_task(child())


@handlers.register("Dies", retry=RetryPolicy(max_attempts=1))
async def dies(context):
    """Brings its process down soon after it began."""
    await asyncio.sleep(0.2)
    os._exit(9)


@handlers.register("Waits", retry=RetryPolicy(max_attempts=1))
async def waits(context):
    """Takes longer than what brings its process down."""
    await asyncio.sleep(0.5)
'''
