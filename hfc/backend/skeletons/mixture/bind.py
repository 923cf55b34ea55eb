"""mixture: the regions of a mixture of experts, told apart by what they read of each other."""

from __future__ import annotations

from dataclasses import replace

from hfc.backend.body import Printer
from hfc.backend.skeletons.linear.bind import before_rotation, input_element
from hfc.backend.skeletons.linear.bind import bind as bind_linear
from hfc.backend.skeletons.linear.region import LinearRegion, Matrix
from hfc.backend.skeletons.mixture.region import MixtureRegion
from hfc.backend.skeletons.route.bind import bind as bind_route
from hfc.backend.spec import Bound
from hfc.formats import block_format
from hfc.ir.element import row_shape
from hfc.ir.graph import Op, region
from hfc.ir.index import reindex
from hfc.ir.members import members_of
from hfc.ir.roles import is_product, of_experts, roots


def bind(joined: Op, printer: Printer) -> Bound[MixtureRegion]:
    """One printer a member, all of one list of pointers: what one member makes is memory for the next."""
    *others, last = members = members_of(joined)
    up, down = (op for op in others if any(map(of_experts, op.inner)))
    choices = [op for op in others if roots(op.inner, "route")]
    routers = [op for op in others if any(v in op.outputs for choice in choices for v in choice.inputs)]
    plain = [op for op in others if op not in (up, down, *choices, *routers)]
    gates = [op for op in plain if op.output.type.shape[1:] == (1,)]
    shared = [op for op in plain if op not in gates]
    choice = bind_route(choices[0], _printer(choices[0], printer)).region if choices else None
    gate = bind_linear(gates[0], _printer(gates[0], printer)).region if gates else None
    tasks = dict.fromkeys(members, "up") | dict.fromkeys(routers, "router") | dict.fromkeys(gates, "prepare")
    tasks |= dict.fromkeys((down, last), "down")
    made = MixtureRegion(
        choice=choice,
        router=members.index(routers[0]) if routers else None,
        gate=gate,
        up=_first(up, printer),
        shared_up=bind_linear(shared[0], _printer(shared[0], printer)).region if shared else None,
        down=_second(down, printer),
        shared_down=_second(last, printer) if any(map(is_product, last.inner)) else None,
        store=_store(down, last, printer),
        tasks=tuple(tasks[op] for op in members),
    )
    name = f"mixture_{made.up.top}of{made.up.expert_count}_k{made.up.k}_n{made.down.k}"
    return Bound("mixture", name, tuple(printer.args), str(last.outputs[0].type.shape[0]), made)


def _printer(member: Op, printer: Printer) -> Printer:
    made = Printer(member, printer.settings, printer.sources)
    made.args = printer.args
    return made


def _product(member: Op) -> Op:
    (root,) = (op for op in member.inner if is_product(op))
    return root


def _first(member: Op, printer: Printer) -> LinearRegion:
    """The products of a member whose input is staged once for each row, not for each of its choices."""
    own, root = _printer(member, printer), next(op for op in member.inner if is_product(op))
    load = input_element(root, before_rotation(root.inputs[0], own)[0], own, 0)
    bound = _printer(member, printer)
    if of_experts(root):
        bound.leaves[root.inputs[2]] = lambda _index: "expert"
    return replace(bind_linear(member, bound).region, load=load, stats=tuple(own.stats))


def _second(member: Op, printer: Printer) -> LinearRegion:
    """The product of a member, and what it multiplies; its epilogue is in `_store`."""
    own, root = _printer(member, printer), _product(member)
    top = root.output.type.size(1) if of_experts(root) else 0
    x, rotate = before_rotation(root.inputs[0], own)
    load = input_element(root, x, own, top)
    weight = root.inputs[1]
    matrix = Matrix(own.arg(weight), block_format(weight.type.dtype), weight.type.size(-2), "")
    return LinearRegion(
        k=weight.type.size(-1),
        parts=(matrix,),
        load=load,
        stats=tuple(own.stats),
        rotate=rotate,
        top=top,
        experts=own.arg(root.inputs[2]) if top else None,
    )


def _store(down: Op, last: Op, printer: Printer) -> str:
    """The epilogues of both, where the products are at hand."""
    own = _printer(region([*down.inner, *last.inner], list(last.outputs), {}), printer)
    own.leaves[_product(down).output] = lambda index: f"chosen[{index[0]}]"
    for op in last.inner:
        if is_product(op):
            own.leaves[op.output] = lambda _index: "shared"
    made = []
    for value in last.outputs:
        shape = row_shape(value)
        expression = own.element(value, reindex(("n",), shape, shape))
        made.append(f"{own.arg(value, written=True).name}[(size_t)row * {shape[0]} + n] = {expression};")
    return " ".join(made)
