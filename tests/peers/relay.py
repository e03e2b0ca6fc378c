"""A bare TCP relay, `relay.py PORT HOST:PORT`: stands in the proxy's place to prove a suite without a proxy (`--through relay`)."""

import socket
import sys
import threading


def main(port: int, target: str):
    host, target_port = target.rsplit(":", 1)
    with socket.create_server(("127.0.0.1", port), backlog=256) as listener:
        while True:
            caller, _ = listener.accept()
            try:
                upstream = socket.create_connection((host, int(target_port)))
            except OSError:
                caller.close()
                continue
            for pair in ((caller, upstream), (upstream, caller)):
                threading.Thread(target=copy, args=pair, daemon=True).start()


def copy(source: socket.socket, sink: socket.socket):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One side was reset: end both, or the other thread and its peer would wait for ever.
        source.close()
        sink.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
