"""What every connection costs: no waiting for acknowledgements, no copies, no waiting for the end."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import closing
from socketserver import BaseServer

import pytest
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from makers.pacs import Archive, note_of
from osteon.clinical import connections
from osteon.clinical.address import Address
from osteon.clinical.node import DicomNode, NodeSettings
from osteon.clinical.sender import DicomDestination

SETTINGS = NodeSettings(address=Address(port=0), min_free=0)


def test_small_messages_are_sent_at_once_from_both_sides(tmp_path, monkeypatch):
    """Else each object waits some 40 ms for the acknowledgement of its command."""
    made = []
    real = connections.AssociationSocket.send

    def note(self, data):
        made.append(self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        real(self, data)

    monkeypatch.setattr(connections.AssociationSocket, "send", note)
    with DicomNode(tmp_path, note_of, None, SETTINGS) as node:
        DicomDestination("OSTEON", "127.0.0.1", node.port).echo()
    assert len(made) == 4, "association and release, asked and answered"
    assert all(made)


def test_a_caller_costs_no_copy_of_all_that_is_taken(tmp_path):
    seen = []
    with DicomNode(tmp_path, note_of, None, SETTINGS) as node:
        node._receiver._server.bind(evt.EVT_REQUESTED, lambda event: seen.append(event.assoc.acceptor))
        for _ in range(2):
            DicomDestination("OSTEON", "127.0.0.1", node.port).echo()
    first, second = (acceptor.supported_contexts for acceptor in seen)
    assert len(first) > 100
    assert all(one is other for one, other in zip(first, second, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a socket that listens cannot be shut down")
def test_a_node_without_callers_ends_at_once(tmp_path, monkeypatch):
    """Not when the thread that listens looks next."""
    monkeypatch.setattr(ThreadedAssociationServer, "serve_forever", lambda self: BaseServer.serve_forever(self, 30.0))
    node = DicomNode(tmp_path, note_of, None, SETTINGS)
    start = time.monotonic()
    node.close()
    assert time.monotonic() - start < 10


def test_those_who_talk_may_end_when_nobody_is_let_in_any_more():
    with closing(Archive()) as archive:
        entity = AE()
        entity.add_requested_context("1.2.840.10008.1.1")
        talking = entity.associate("127.0.0.1", archive.port)
        connections.stop_listening(archive._server)
        assert talking.send_c_echo().Status == 0
        assert not entity.associate("127.0.0.1", archive.port).is_established
        talking.release()
        assert talking.is_released
