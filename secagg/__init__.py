"""Secure sums: a server learns the sum of its clients' vectors and nothing else. Imports no other package of ours."""

from secagg import graph, plain
from secagg.codec import Codec, Encoded, FixedPoint, Layout, Segment
from secagg.crypto import seeded_entropy
from secagg.drive import Recorder, drive, serve
from secagg.errors import (
    CodecError,
    PlanError,
    ProtocolError,
    RefusedError,
    RoundFailedError,
    SessionSpentError,
    WireError,
)
from secagg.graph import GraphPlan, plan_graph
from secagg.he import BfvSum, CkksSum
from secagg.he import parameters_for as he_parameters_for
from secagg.helper import HelperSum
from secagg.holder_memory import HolderMemory
from secagg.holder_request import MAX_REQUEST_BYTES, HolderRequest
from secagg.holder_request import PROTOCOLS as ONE_MESSAGE
from secagg.holder_request import answer as answer_holder_request
from secagg.identity import Identity, KeyDirectory
from secagg.manifest import Entry, Manifest, part_digest
from secagg.masked import MaskedSum
from secagg.memory import ClientMemory
from secagg.messages import KEY_HOLDER, SERVER, Envelope, Transcript
from secagg.one_message import OneMessageSum
from secagg.plain import PlainSum
from secagg.plan import SumPlan
from secagg.replay import replay_aggregate
from secagg.residues import ModularIntegers
from secagg.session import Aggregate, ClientSession, HolderSession, Member, ServerSession
from secagg.simulate import Cohort, SecureSum, key_holder_session, simulate

__all__ = [
    "KEY_HOLDER",
    "MAX_REQUEST_BYTES",
    "ONE_MESSAGE",
    "SERVER",
    "Aggregate",
    "BfvSum",
    "CkksSum",
    "ClientMemory",
    "ClientSession",
    "Codec",
    "CodecError",
    "Cohort",
    "Encoded",
    "Entry",
    "Envelope",
    "FixedPoint",
    "GraphPlan",
    "HelperSum",
    "HolderMemory",
    "HolderRequest",
    "HolderSession",
    "Identity",
    "KeyDirectory",
    "Layout",
    "Manifest",
    "MaskedSum",
    "Member",
    "ModularIntegers",
    "OneMessageSum",
    "PlainSum",
    "PlanError",
    "ProtocolError",
    "Recorder",
    "RefusedError",
    "RoundFailedError",
    "SecureSum",
    "Segment",
    "ServerSession",
    "SessionSpentError",
    "SumPlan",
    "Transcript",
    "WireError",
    "answer_holder_request",
    "drive",
    "graph",
    "he_parameters_for",
    "key_holder_session",
    "part_digest",
    "plain",
    "plan_graph",
    "replay_aggregate",
    "seeded_entropy",
    "serve",
    "simulate",
]
