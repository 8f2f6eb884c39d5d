"""Many cores for one model: processes that serve gRPC and decode, in front of the one that runs the sessions.

    front end (N of them)                                   session process (the service's own, the parent)
    gRPC, tokens, decode, tokenise ── pixels in a slot of shared memory ──▶ batcher ▶ session
                                   ── a message a picture or text ────────▶    │
                                   ◀─ a message with its vector ───────────────┘

The parent starts the front ends, puts others in the place of those that die, and tells them when to
drain. Without `ENCODER_FRONTENDS` nothing of this is imported.
"""
