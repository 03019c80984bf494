"""Is a history linearizable? The search of Wing and Gong with Lowe's memory of (what was done, state), small enough
to read.

Each part of a history is searched for one order of its operations that respects real time (whoever had ended
before another began comes first) and in which each answer is what the model says. Parts are short, so that this is
fast; linearizability/main.go does the same by porcupine, with models of its own.
"""


class Unlinearizable(AssertionError):
    pass


# ---- models: step(state, operation) -> the states it may lead to; none: this answer is impossible here ----

class Stock:
    """A stock of TOTAL units: purchases with numbers, smallest free number first; cancelled ones stay cancelled."""
    TOTAL = 5

    start = ()  # sorted (purchase, number); number 0: cancelled

    @classmethod
    def step(cls, state, operation):
        held, purchase, out = dict(state), operation["arg"], operation["out"]
        number = held.get(purchase)
        if operation["op"] == "reserve":
            return cls.reserve(state, held, purchase, number, out)
        if operation["op"] == "release":
            held[purchase] = 0
            return [tuple(sorted(held.items()))] if out in (None, "gone") else []
        if operation["op"] == "look":
            seen = "cancelled" if number == 0 else number or "nothing"
            return [state] if out in (None, seen) else []
        used = sum(number > 0 for number in held.values())  # "count"
        return [state] if out in (None, used) else []

    @classmethod
    def reserve(cls, state, held, purchase, number, out):
        if number is not None:
            return [state] if out in (None, number or "cancelled") else []
        taken = {number for number in held.values() if number > 0}
        if len(taken) == cls.TOTAL:
            return [state] if out in (None, "sold-out") else []
        held[purchase] = min(set(range(1, cls.TOTAL + 1)) - taken)
        return [tuple(sorted(held.items()))] if out in (None, held[purchase]) else []


class Key:
    """An idempotency key: the first request makes a receipt, the same again hears the same, another one is refused."""
    start = None  # (body, receipt; "" while nobody has heard it)

    @classmethod
    def step(cls, state, operation):
        body, out = operation["arg"], operation["out"]
        if state is None:
            if out is None:
                return [(body, "")]
            return [(body, out["receipt"])] if out.get("receipt") and not out["replayed"] else []
        if out is None:
            return [state]
        if body != state[0]:
            return [state] if out.get("refused") else []
        if out.get("refused") or not out["replayed"] or state[1] not in ("", out["receipt"]):
            return []
        return [(body, out["receipt"])]


class Once:
    """A queue that takes each message id once, and anything without one as often as it comes."""
    start = (frozenset(), 0)

    @classmethod
    def step(cls, state, operation):
        ids, others = state
        out = operation["out"]
        if operation["op"] == "publish":
            return [(ids | {operation["arg"]}, others)] if out in (None, "ok") else []
        if operation["op"] == "add":
            return [(ids, others + 1)] if out in (None, "ok") else []
        return [state] if out in (None, len(ids) + others) else []  # "count"


MODELS = {"stock": Stock, "key": Key, "once": Once}


def linearizable(model, operations):
    """Depth first; what may come next is whatever began before the first end among the rest."""
    operations = sorted(operations, key=lambda operation: operation["call"])
    ends = [float("inf") if o["end"] is None else o["end"] for o in operations]
    must = sum(1 << i for i, o in enumerate(operations) if o["out"] is not None)
    seen, stack = set(), [(0, model.start)]
    while stack:
        done, state = stack.pop()
        if done & must == must:  # those without an answer need not have happened
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        rest = [i for i in range(len(operations)) if not done >> i & 1]
        # Only an answered one forbids what begins after its end; one that was never answered may not have happened.
        first_end = min(ends[i] for i in rest if operations[i]["out"] is not None)
        for i in rest:
            if operations[i]["call"] > first_end:
                break
            if ends[i] < latest_begin(operations, done):
                continue
            for following in model.step(state, operations[i]):
                stack.append((done | 1 << i, following))
    return False


def latest_begin(operations, done):
    """When the last of those that were done began: what had ended before that comes too late."""
    return operations[done.bit_length() - 1]["call"] if done else 0


def check(history):
    """How many parts were checked. Raises with the first part that has no order."""
    parts = history.parts()
    for (model, part), operations in parts.items():
        if not linearizable(MODELS[model], operations):
            lines = "\n".join(map(str, sorted(operations, key=lambda o: o["call"])))
            raise Unlinearizable(f"no order of these explains their answers ({model} {part}):\n{lines}")
    return len(parts)
