"""Nodes of a search tree and their indexes, by which reading and recording take the same time in any tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ramify.errors import TreeError

from .node import Node, NodeState, Origin, after_fence

if TYPE_CHECKING:
    import networkx as nx

    Graph = nx.DiGraph[int]

ROOT = 0
"""Id of the root node, which stands for the question and has no text."""


class IndexedTree:
    """The nodes of a tree, with the queries about them; `SearchTree` adds the operations that change them."""

    __slots__ = (
        "_by_path",
        "_children",
        "_critiques",
        "_finished_tokens",
        "_generated_tokens",
        "_graph",
        "_leaves",
        "_levels",
        "_live",
        "_nodes",
        "_states",
        "_unscored",
        "_written",
    )

    def __init__(self) -> None:
        self._clear()
        self._insert(Node(id=ROOT, parent=None, index=0, path=(), depth=0, state=NodeState.OPEN))

    @property
    def graph(self) -> Graph:
        """A `networkx.DiGraph` over node ids with the attribute `node`, made at the first use and kept up to date.

        Read it freely; change the tree only through the methods of `SearchTree`.
        """
        if self._graph is None:
            import networkx as nx

            self._graph = nx.DiGraph()
            for node in self._nodes:
                _add(self._graph, node)
        return self._graph

    # --- reading -----------------------------------------------------------------------------------------------

    @property
    def root(self) -> Node:
        """The node that stands for the question."""
        return self._nodes[ROOT]

    def __len__(self) -> int:
        """Number of nodes, root included."""
        return len(self._nodes)

    def __contains__(self, node_id: object) -> bool:
        return isinstance(node_id, int) and 0 <= node_id < len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        """All nodes in creation order, root first."""
        return iter(self._nodes)

    def node(self, node_id: int) -> Node:
        """Return a node by its id.

        Raises:
            TreeError: if there is none.
        """
        if node_id not in self:
            raise TreeError(f"node {node_id} does not exist; the tree has nodes 0 to {len(self._nodes) - 1}")
        return self._nodes[node_id]

    def children(self, node_id: int) -> list[Node]:
        """Children in the order of their numbers, in any state."""
        self.node(node_id)
        return sorted((self._nodes[i] for i in self._children[node_id]), key=lambda child: child.index)

    def next_steps(self, node_id: int) -> list[Node]:
        """Ends of the steps after a node, in the order of the children.

        A child whose step goes on further down is represented by the node in which the step ends, or will end.
        """
        return [self._step_end(child) for child in self.children(node_id)]

    def _step_end(self, node: Node) -> Node:
        while node.state is NodeState.CONTINUED and (below := self.children(node.id)):
            node = below[0]
        return node

    def child_count(self, node_id: int) -> int:
        """Number of children, in any state."""
        self.node(node_id)
        return len(self._children[node_id])

    def subtree(self, node_id: int) -> list[int]:
        """Ids of a node and everything below it, parents before children, siblings in order."""
        found, stack = list[int](), [node_id]
        while stack:
            current = stack.pop()
            found.append(current)
            stack.extend(child.id for child in reversed(self.children(current)))
        return found

    def path_nodes(self, node_id: int) -> list[Node]:
        """Nodes from the first step to this one; the root is left out."""
        found, node = list[Node](), self.node(node_id)
        while node.parent is not None:
            found.append(node)
            node = self._nodes[node.parent]
        found.reverse()
        return found

    def path_text(self, node_id: int) -> str:
        """Text of the path, steps joined as they were generated."""
        return "".join(node.text for node in self.path_nodes(node_id))

    def written_text(self, node_id: int) -> str:
        """Text of the path; of the results of tools only a line break and the text after the fence."""
        return "".join(
            f"\n{after_fence(node.text)}" if node.origin is Origin.TOOL else node.text
            for node in self.path_nodes(node_id)
        )

    def path_scores(self, node_id: int) -> list[float]:
        """Scores of the path's steps; that of a step which goes on in a child is the one of its end.

        Raises:
            TreeError: if a step has none; the message names the first such step.
        """
        scores = list[float]()
        for node in self.path_nodes(node_id):
            if node.state is NodeState.CONTINUED and node.id != node_id:
                continue
            if node.score is None:
                raise TreeError(f"node {node.id} has no score; score it before its path is used")
            scores.append(node.score)
        return scores

    def path_token_count(self, node_id: int) -> int:
        """Generated tokens on the path."""
        return sum(node.token_count for node in self.path_nodes(node_id))

    def live_leaves(self, node_id: int) -> int:
        """Number of open nodes without children at and below a node: 0 if its subtree is exhausted.

        The first call counts the whole tree; from then on the counts are kept up to date.
        """
        self.node(node_id)
        if self._live is None:
            self._live = [0] * len(self._nodes)
            for leaf in self._leaves:
                self._count_live(leaf, 1)
        return self._live[node_id]

    def open_nodes(self) -> list[Node]:
        """Open nodes, with children or without, in (depth, path) order; the root is one of them."""
        return self._sorted(self._states[NodeState.OPEN])

    def open_leaves(self) -> list[Node]:
        """Open nodes without children, in (depth, path) order: where the search can continue."""
        return self._sorted(self._leaves)

    def pending(self) -> list[Node]:
        """Nodes whose step is being generated, in (depth, path) order."""
        return self._sorted(self._states[NodeState.PENDING])

    def finished_nodes(self) -> list[Node]:
        """Finished paths in path order; a critique, though complete, is no path to an answer."""
        paths = self._states[NodeState.FINISHED] - self._critiques
        return sorted((self._nodes[i] for i in paths), key=lambda node: node.path)

    def level(self, depth: int) -> list[Node]:
        """All nodes at a depth, in path order."""
        ids = self._levels[depth] if 0 <= depth < len(self._levels) else ()
        return self._sorted(ids)

    @property
    def depth(self) -> int:
        """Depth of the deepest node; 0 for a tree with only a root."""
        return len(self._levels) - 1

    @property
    def generated_tokens(self) -> int:
        """Tokens generated for the tree: each node once, however many paths share it."""
        return self._generated_tokens

    @property
    def written_count(self) -> int:
        """Number of nodes whose step has tokens."""
        return self._written

    @property
    def finished_tokens(self) -> int:
        """Tokens of all finished paths, those of shared steps once for each path; critiques are not among them."""
        return self._finished_tokens

    @property
    def pending_count(self) -> int:
        """Number of nodes whose step is being generated."""
        return len(self._states[NodeState.PENDING])

    @property
    def finished_count(self) -> int:
        """Number of finished paths, critiques not among them."""
        return len(self._states[NodeState.FINISHED]) - len(self._critiques)

    @property
    def pruned_count(self) -> int:
        """Number of pruned nodes."""
        return len(self._states[NodeState.PRUNED])

    @property
    def unscored_count(self) -> int:
        """Number of open and finished nodes that have no score yet; the root and critiques never count."""
        return len(self._unscored)

    # --- indexes -----------------------------------------------------------------------------------------------

    def _clear(self) -> None:
        self._graph: Graph | None = None
        self._children: list[list[int]] = []
        self._nodes: list[Node] = []
        self._by_path: dict[tuple[int, ...], int] = {}
        self._levels: list[list[int]] = []
        self._states: dict[NodeState, set[int]] = {state: set() for state in NodeState}
        self._leaves: set[int] = set()
        self._critiques: set[int] = set()
        self._unscored: set[int] = set()
        self._live: list[int] | None = None
        self._generated_tokens = self._written = self._finished_tokens = 0

    def _insert(self, node: Node) -> None:
        self._nodes.append(node)
        self._children.append([])
        self._by_path[node.path] = node.id
        if node.depth == len(self._levels):
            self._levels.append([])
        self._levels[node.depth].append(node.id)
        self._states[node.state].add(node.id)
        if self._live is not None:
            self._live.append(0)
        if self._graph is not None:
            _add(self._graph, node)
        if node.parent is not None:
            self._children[node.parent].append(node.id)
            self._set_leaf(node.parent, False)
        self._set_leaf(node.id, node.state is NodeState.OPEN)

    def _move(self, node: Node, state: NodeState) -> None:
        self._states[node.state].remove(node.id)
        self._states[state].add(node.id)
        node.state = state
        self._set_leaf(node.id, state is NodeState.OPEN)

    def _set_leaf(self, node_id: int, leaf: bool) -> None:
        if leaf == (node_id in self._leaves):
            return
        (self._leaves.add if leaf else self._leaves.discard)(node_id)
        self._count_live(node_id, 1 if leaf else -1)

    def _count_live(self, node_id: int, change: int) -> None:
        if self._live is None:
            return
        current: int | None = node_id
        while current is not None:
            self._live[current] += change
            current = self._nodes[current].parent

    def _sorted(self, ids: Iterable[int]) -> list[Node]:
        return sorted((self._nodes[i] for i in ids), key=lambda node: node.order)


def _add(graph: Graph, node: Node) -> None:
    graph.add_node(node.id, node=node)
    if node.parent is not None:
        graph.add_edge(node.parent, node.id)
