"""What a path says about a file: its language, its role (code, test, docs …), its area of the project.

Only names are looked at, never contents, so the same answer comes from a checkout and from a file list.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

Role = Literal["code", "test", "docs", "infrastructure", "configuration", "data", "generated", "other"]

LANGUAGES: Final[dict[str, str]] = {
    "bash": "Shell", "c": "C", "cc": "C++", "clj": "Clojure", "cpp": "C++", "cs": "C#", "css": "CSS", "cu": "CUDA",
    "dart": "Dart", "ex": "Elixir", "exs": "Elixir", "elm": "Elm", "erl": "Erlang", "fs": "F#", "go": "Go",
    "graphql": "GraphQL", "groovy": "Groovy", "h": "C", "hcl": "HCL", "hpp": "C++", "hs": "Haskell", "html": "HTML",
    "java": "Java", "jl": "Julia", "js": "JavaScript", "jsx": "JavaScript", "kt": "Kotlin", "kts": "Kotlin",
    "less": "CSS", "lua": "Lua", "m": "Objective-C", "mjs": "JavaScript", "ml": "OCaml", "nix": "Nix", "php": "PHP",
    "pl": "Perl", "proto": "Protocol Buffers", "ps1": "PowerShell", "py": "Python", "pyi": "Python", "pyx": "Cython",
    "r": "R", "rb": "Ruby", "rs": "Rust", "sass": "CSS", "scala": "Scala", "scss": "CSS", "sh": "Shell",
    "sol": "Solidity", "sql": "SQL", "svelte": "Svelte", "swift": "Swift", "tf": "Terraform", "ts": "TypeScript",
    "tsx": "TypeScript", "vue": "Vue", "zig": "Zig",
}  # fmt: skip

DOCS_EXTENSIONS: Final = frozenset({"md", "mdx", "rst", "adoc", "txt", "tex"})
DOCS_NAMES: Final = frozenset({"readme", "changelog", "contributing", "license", "notice", "authors", "security"})
DOCS_FOLDERS: Final = frozenset({"docs", "doc", "documentation"})
CONFIGURATION_EXTENSIONS: Final = frozenset({"yaml", "yml", "toml", "ini", "cfg", "json", "conf", "env", "properties"})

DATA_EXTENSIONS: Final = frozenset(
    {"csv", "tsv", "parquet", "npy", "npz", "jsonl", "svg", "png", "jpg", "jpeg", "gif", "pdf", "ipynb"}
)

TEST_FOLDERS: Final = frozenset({"test", "tests", "spec", "specs", "__tests__", "e2e", "testdata", "fixtures"})
TEST_NAME: Final = re.compile(r"(^test_|^conftest\.py$|_test\.|_spec\.|\.test\.|\.spec\.|Tests?\.(java|kt|cs)$)")

INFRASTRUCTURE_FOLDERS: Final = frozenset(
    {".github", ".gitlab", ".circleci", "helm", "charts", "k8s", "kubernetes", "terraform", "ansible", "docker",
     "deploy"}
)  # fmt: skip
INFRASTRUCTURE_NAME: Final = re.compile(
    r"^(dockerfile|containerfile|makefile|justfile|jenkinsfile|docker-compose.*|compose\.ya?ml|\.gitlab-ci\.yml|procfile)",
    re.IGNORECASE,
)
INFRASTRUCTURE_EXTENSIONS: Final = frozenset({"tf", "hcl", "nix"})

GENERATED_FOLDERS: Final = frozenset(
    {"vendor", "node_modules", "third_party", "dist", "__generated__", "generated", "__snapshots__", "site-packages"}
)
GENERATED_NAME: Final = re.compile(
    r"(\.lock$|\.lockfile$|-lock\.(json|ya?ml)$|^go\.sum$|^npm-shrinkwrap\.json$"
    r"|\.min\.(js|css)$|\.map$|_pb2(_grpc)?\.pyi?$|\.pb\.(go|cc|h)$|\.g\.dart$|\.snap$|\.designer\.cs$|\.generated\.)",
    re.IGNORECASE,
)


def extension(path: str) -> str:
    stem, _, after = path.rpartition("/")[2].rpartition(".")
    return after.lower() if stem else ""


def language(path: str) -> str | None:
    return LANGUAGES.get(extension(path))


@lru_cache(maxsize=65536)
def role(path: str) -> Role:
    """The first that the path says of: generated, data, test, docs, infrastructure, code, configuration, other."""
    *parents, name = path.split("/")
    folders, ext = {parent.lower() for parent in parents}, extension(path)
    if folders & GENERATED_FOLDERS or GENERATED_NAME.search(name):
        return "generated"
    if ext in DATA_EXTENSIONS:
        return "data"
    if folders & TEST_FOLDERS or TEST_NAME.search(name):
        return "test"
    if _is_docs(folders, name, ext):
        return "docs"
    if folders & INFRASTRUCTURE_FOLDERS or INFRASTRUCTURE_NAME.match(name) or ext in INFRASTRUCTURE_EXTENSIONS:
        return "infrastructure"
    if ext in LANGUAGES:
        return "code"
    listed = ext in CONFIGURATION_EXTENSIONS or name.lower().startswith("requirements")
    return "configuration" if listed else "other"


def _is_docs(folders: set[str], name: str, ext: str) -> bool:
    if name.split(".")[0].lower() in DOCS_NAMES and ext not in LANGUAGES:
        return True
    return (ext in DOCS_EXTENSIONS and not name.lower().startswith("requirements")) or bool(folders & DOCS_FOLDERS)


def area(path: str) -> str:
    """The part of the project a file belongs to: its first two folders; "." for files at the root."""
    return "/".join(path.split("/")[:-1][:2]) or "."
