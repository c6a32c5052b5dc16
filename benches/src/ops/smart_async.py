"""Measures SmartAsync: reads lines "SCENARIO TIMES", answers nanoseconds a call."""

import asyncio
import importlib.metadata
import platform
import sys
import time

from smartasync import smartasync


# A function each: the decorator remembers for ever that a function was used in
# async code, and gives a coroutine to sync callers afterwards.
@smartasync
async def for_sync():
    return 1


@smartasync
async def for_async():
    return 1


@smartasync
def plain_for_sync():
    return 1


@smartasync
def plain_for_async():
    return 1


def sync_to_async(times):
    start = time.perf_counter_ns()
    for _ in range(times):
        for_sync()
    return time.perf_counter_ns() - start


def sync_to_sync(times):
    start = time.perf_counter_ns()
    for _ in range(times):
        plain_for_sync()
    return time.perf_counter_ns() - start


def async_to_async(times):
    async def run():
        start = time.perf_counter_ns()
        for _ in range(times):
            await for_async()
        return time.perf_counter_ns() - start

    return asyncio.run(run())


def async_to_sync(times):
    async def run():
        start = time.perf_counter_ns()
        for _ in range(times):
            await plain_for_async()
        return time.perf_counter_ns() - start

    return asyncio.run(run())


version = importlib.metadata.version("smartasync")
print(f"SmartAsync {version}, Python {platform.python_version()}", flush=True)
for line in sys.stdin:
    scenario, times = line.split()
    print(globals()[scenario](int(times)) / int(times), flush=True)
