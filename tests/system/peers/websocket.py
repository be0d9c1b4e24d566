"""A WebSocket server that sends every message back, and a client that compares them.

websocket.py serve PORT
websocket.py ask URL COUNT
"""

import asyncio
import os
import sys

import websockets


async def serve(port):
    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async with websockets.serve(echo, "0.0.0.0", int(port)):
        print("ready", flush=True)
        await asyncio.Future()


async def ask(url, count):
    async with websockets.connect(url) as connection:
        for number in range(int(count)):
            message = os.urandom(1 + number * 997 % 70_000)
            await connection.send(message)
            if await connection.recv() != message:
                sys.exit(f"message {number} came back changed")
    print(count)


asyncio.run({"serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:]))
