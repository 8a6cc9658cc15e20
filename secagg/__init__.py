"""Secure sums: a server learns the sum of its clients' vectors and nothing else. Imports no other package of ours."""

from secagg import graph, plain
from secagg.codec import Codec, Encoded, FixedPoint, Layout, Segment
from secagg.crypto import seeded_entropy
from secagg.drive import Recorder, drive
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
from secagg.identity import Identity, KeyDirectory
from secagg.manifest import Entry, Manifest, part_digest
from secagg.masked import MaskedSum
from secagg.memory import ClientMemory
from secagg.messages import SERVER, Envelope, Transcript
from secagg.plain import PlainSum
from secagg.plan import SumPlan
from secagg.replay import replay_aggregate
from secagg.residues import ModularIntegers
from secagg.session import Aggregate, ClientSession, Member, ServerSession
from secagg.simulate import Cohort, SecureSum, simulate

__all__ = [
    "SERVER",
    "Aggregate",
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
    "Identity",
    "KeyDirectory",
    "Layout",
    "Manifest",
    "MaskedSum",
    "Member",
    "ModularIntegers",
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
    "drive",
    "graph",
    "part_digest",
    "plain",
    "plan_graph",
    "replay_aggregate",
    "seeded_entropy",
    "simulate",
]
