"""Layout of a tree drawing: children in order, parents centred above them, equal subtrees drawn equally, narrow.

Walker's algorithm in the linear-time form of Buchheim, Jünger and Leipert ("Improving Walker's Algorithm to Run in
Linear Time", GD 2002), without recursion, since paths may be longer than Python's stack.
"""

from __future__ import annotations

from collections.abc import Sequence


def tidy_positions(children: Sequence[Sequence[int]]) -> list[float]:
    """Return each node's position across the direction of growth; neighbours of one depth are at least 1 apart.

    `children[i]` are the children of node i in order; node 0 is the root and every other node is a child of one node.
    The smallest position is 0.
    """
    return _Layout(children).positions() if children else []


class _Layout:
    """One run of the algorithm; the names are the paper's, `prelim` is the position relative to the parent's frame."""

    def __init__(self, children: Sequence[Sequence[int]]) -> None:
        count = len(children)
        self.children = children
        self.parent = [-1] * count
        self.number = [0] * count
        for node, below in enumerate(children):
            for number, child in enumerate(below):
                self.parent[child], self.number[child] = node, number
        self.prelim = [0.0] * count
        self.mod = [0.0] * count
        self.shift = [0.0] * count
        self.change = [0.0] * count
        self.thread = [-1] * count
        self.ancestor = list(range(count))
        self.default_ancestor = [below[0] if below else -1 for below in children]

    def positions(self) -> list[float]:
        """Return the positions: one pass from the leaves up, one that adds up the frames from the root down."""
        order = self._parents_first()
        for node in self._children_first():
            self._place(node)
        absolute, offset = [0.0] * len(order), [0.0] * len(order)
        for node in order:
            parent = self.parent[node]
            if parent >= 0:
                offset[node] = offset[parent] + self.mod[parent]
            absolute[node] = self.prelim[node] + offset[node]
        least = min(absolute)
        return [place - least for place in absolute]

    def _parents_first(self) -> list[int]:
        order, stack = list[int](), [0]
        while stack:
            node = stack.pop()
            order.append(node)
            stack.extend(reversed(self.children[node]))
        return order

    def _children_first(self) -> list[int]:
        """Return a postorder with siblings from left to right."""
        found, stack = list[int](), [0]
        while stack:
            node = stack.pop()
            found.append(node)
            stack.extend(self.children[node])
        found.reverse()
        return found

    def _place(self, node: int) -> None:
        """Place a node whose subtree and left siblings are placed, and push it clear of the nodes on its left."""
        below, left = self.children[node], self._left_sibling(node)
        if below:
            self._execute_shifts(node)
            middle = (self.prelim[below[0]] + self.prelim[below[-1]]) / 2
            if left >= 0:
                self.prelim[node] = self.prelim[left] + 1
                self.mod[node] = self.prelim[node] - middle
            else:
                self.prelim[node] = middle
        elif left >= 0:
            self.prelim[node] = self.prelim[left] + 1
        if left >= 0:
            self._apportion(node, left)

    def _apportion(self, node: int, left: int) -> None:
        """Walk the right contour of the left siblings and the left one of `node`, and move `node` where they touch."""
        parent = self.parent[node]
        inner_right = outer_right = node
        inner_left, outer_left = left, self.children[parent][0]
        shift_inner_right = shift_outer_right = self.mod[node]
        shift_inner_left, shift_outer_left = self.mod[inner_left], self.mod[outer_left]
        while (next_left := self._next_right(inner_left)) >= 0 and (next_right := self._next_left(inner_right)) >= 0:
            inner_left, inner_right = next_left, next_right
            outer_left, outer_right = self._next_left(outer_left), self._next_right(outer_right)
            self.ancestor[outer_right] = node
            overlap = self.prelim[inner_left] + shift_inner_left - self.prelim[inner_right] - shift_inner_right + 1
            if overlap > 0:
                self._move(self._mover(inner_left, parent), node, overlap)
                shift_inner_right += overlap
                shift_outer_right += overlap
            shift_inner_left += self.mod[inner_left]
            shift_inner_right += self.mod[inner_right]
            shift_outer_left += self.mod[outer_left]
            shift_outer_right += self.mod[outer_right]
        if self._next_right(inner_left) >= 0 and self._next_right(outer_right) < 0:
            self.thread[outer_right] = self._next_right(inner_left)
            self.mod[outer_right] += shift_inner_left - shift_outer_right
        if self._next_left(inner_right) >= 0 and self._next_left(outer_left) < 0:
            self.thread[outer_left] = self._next_left(inner_right)
            self.mod[outer_left] += shift_inner_right - shift_outer_left
            self.default_ancestor[parent] = node

    def _mover(self, inner_left: int, parent: int) -> int:
        ancestor = self.ancestor[inner_left]
        return ancestor if self.parent[ancestor] == parent else self.default_ancestor[parent]

    def _move(self, left: int, right: int, distance: float) -> None:
        """Move a subtree to the right; those between the two share the room once the parent is placed."""
        between = self.number[right] - self.number[left]
        self.change[right] -= distance / between
        self.shift[right] += distance
        self.change[left] += distance / between
        self.prelim[right] += distance
        self.mod[right] += distance

    def _execute_shifts(self, node: int) -> None:
        shift = change = 0.0
        for child in reversed(self.children[node]):
            self.prelim[child] += shift
            self.mod[child] += shift
            change += self.change[child]
            shift += self.shift[child] + change

    def _left_sibling(self, node: int) -> int:
        return self.children[self.parent[node]][self.number[node] - 1] if self.number[node] else -1

    def _next_left(self, node: int) -> int:
        return self.children[node][0] if self.children[node] else self.thread[node]

    def _next_right(self, node: int) -> int:
        return self.children[node][-1] if self.children[node] else self.thread[node]
