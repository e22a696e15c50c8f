"""Strategy modules of a running gateway over REST; the example of the guide is the module."""

import re
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.integration.test_control_resources import failure, ok
from tests.support import gateway, rest_schemas
from tests.support.gateway import Running
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "modules.md").read_text()
PATH = "/strategies/modules"
EXAMPLE = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)[0]
INSTANCES = "/strategy/instances"
REFRESH = "/strategies/refresh"
SECOND = EXAMPLE.replace('"1.0.0"', '"2.0.0"')


@pytest.fixture(name="client")
def _client(control: Running) -> Generator[httpx.Client]:
    yield control.client
    if "g" in control.gateway.instances:
        ok(control.client.delete(f"{INSTANCES}/g"))
    for module in control.client.get(PATH).json()["modules"]:
        assert control.client.delete(f"{PATH}/{module['name']}").status_code == 204


def upload(client: httpx.Client, source: str, **body: Any) -> dict[str, Any]:
    return ok(client.post(PATH, json={"source": source, **body}), 201)


def create(client: httpx.Client, status: int = 201, **strategy: Any) -> Any:
    body = {"id": "g", "strategy": strategy, "scope": {"main": {"symbols": ["BTC-USDT"]}}}
    return ok(client.post(INSTANCES, json=body), status)


def used(client: httpx.Client, id: str = "g") -> tuple[str, str, bool]:
    """Returns hash and version of the strategy of an instance, and whether it runs."""
    shown = ok(client.get(f"{INSTANCES}/{id}"))
    return shown["strategy"]["hash"], shown["strategy"]["version"], shown["running"]


def test_upload_promote_and_roll_back(client: httpx.Client) -> None:
    answer = upload(client, EXAMPLE, filename="grid.js", name="x")
    first = answer["module"]["hash"]
    assert answer == {
        "filename": "grid.js",
        "status": "pending_refresh",
        "strategyDirectory": "database",
        "module": {
            "name": "grid",
            "hash": first,
            "tag": "1.0.0",
            "version": "1.0.0",
            "file": "grid.py",
            "path": "grid/1.0.0/grid.py",
        },
    }
    assert upload(client, EXAMPLE)["module"]["hash"] == first
    second = upload(client, SECOND, promoteLatest=False, aliases=["next"])["module"]["hash"]
    tag = f"{PATH}/grid/tags/latest"
    promoted = ok(client.put(tag, json={"hash": second}))
    assert promoted == {
        "status": "tag_assigned",
        "strategy": "grid",
        "tag": "latest",
        "hash": second,
        "previousHash": first,
        "refresh": True,
        "results": [],
    }
    assert ok(client.get(f"{PATH}/grid"))["hash"] == second
    ok(client.put(tag, json={"hash": promoted["previousHash"]}))
    module = ok(client.get(f"{PATH}/grid"))
    msgspec.convert(module, rest_schemas.Module)
    assert (module["hash"], module["tags"]) == (first, ["1.0.0", "2.0.0", "latest", "next"])
    assert [row["hash"] for row in module["revisions"]] == [first, second]
    assert module["metadata"]["config"][0]["description"] == "Distance of two orders."
    listed = ok(client.get(PATH, params={"strategy": "GRID", "limit": 1}))
    assert (listed["modules"], listed["total"], listed["offset"], listed["limit"]) == ([module], 1, 0, 1)
    assert ok(client.get(PATH, params={"runningOnly": "true"}))["modules"] == []
    source = client.get(f"{PATH}/grid%40{second.replace(':', '%3A')}/source")
    assert source.text == SECOND
    assert source.headers["content-type"].startswith("text/x-python")
    usage = ok(client.get(f"{PATH}/grid:next/usage"))
    assert (usage["selector"], usage["hash"], usage["instances"], usage["total"]) == (
        "grid:next",
        second,
        [],
        0,
    )
    registry = ok(client.get("/strategies/registry"))["registry"]["grid"]
    assert registry["tags"]["next"] == second
    assert ok(client.delete(f"{PATH}/grid/tags/next"))["status"] == "tag_deleted"
    assert "last tag" in failure(client.delete(f"{PATH}/grid/tags/2.0.0"), 409, "conflict")
    misspelt = failure(client.delete(f"{PATH}/grid/tags/2.0.0?allowOrphans=true"), 400, "invalid_parameter")
    assert "allowOrphan" in misspelt
    assert client.delete(f"{PATH}/grid:2.0.0").status_code == 204
    failure(client.get(f"{PATH}/grid:2.0.0"), 404, "not_found")


def test_an_instance_runs_a_stored_module(client: httpx.Client) -> None:
    first = upload(client, EXAMPLE)["module"]["hash"]
    create(client, identifier="Grid", config={"step": 2})
    listed = {each["name"]: each for each in ok(client.get("/strategies"))["strategies"]}
    assert (listed["grid"]["version"], "Grid" in listed) == ("1.0.0", False)
    [summary] = [each for each in ok(client.get(INSTANCES))["instances"] if each["id"] == "g"]
    assert (summary["strategyIdentifier"], summary["strategySelector"]) == ("grid", "grid:latest")
    answer = client.get(f"{INSTANCES}/g")
    shown = {"identifier": "grid", "config": {"step": 2}, "selector": "grid:latest", "tag": "latest"}
    assert ok(answer)["strategy"] == {**shown, "hash": first, "version": "1.0.0"}
    again = client.put(f"{INSTANCES}/g", json=answer.json())
    assert (ok(again), again.headers["etag"]) == (answer.json(), answer.headers["etag"])
    for other in ({"selector": "grid:1.0.0"}, {"identifier": "grid", "hash": "sha256:" + "0" * 64}):
        failure(client.put(f"{INSTANCES}/g", json={"strategy": other}), 409, "conflict")
    assert "in use by `g`" in failure(client.delete(f"{PATH}/grid"), 409, "conflict")
    ok(client.post(f"{INSTANCES}/g/start"))
    second = upload(client, SECOND)["module"]["hash"]
    ok(client.put(f"{INSTANCES}/g", json={"strategy": {"config": {"step": 3}}}))
    assert used(client) == (first, "1.0.0", True)
    usage = ok(client.get(f"{PATH}/{first}/usage"))
    assert ([each["id"] for each in usage["instances"]], usage["usage"]["running"]) == (["g"], True)
    result = {"selector": "grid:latest", "strategy": "grid", "instances": ["g"], "hash": second}
    assert ok(client.post(REFRESH)) == {
        "status": "refreshed",
        "results": [{**result, "previousHash": first, "reason": "refreshed"}],
    }
    assert used(client) == (second, "2.0.0", True)
    assert ok(client.post(REFRESH, json={"hashes": [second], "strategies": ["none"]})) == {
        "status": "partial_refresh",
        "results": [
            {**result, "reason": "alreadyPinned"},
            {"selector": "none", "strategy": "none", "reason": "retired"},
        ],
    }
    tag = f"{PATH}/grid/tags/latest"
    assert "results" not in ok(client.put(tag, json={"hash": first, "refresh": False}))
    assert used(client) == (second, "2.0.0", True)
    ok(client.put(tag, json={"hash": second, "refresh": False}))
    rolled_back = ok(client.put(tag, json={"hash": first}))
    assert [each["reason"] for each in rolled_back["results"]] == ["refreshed"]
    assert used(client) == (first, "1.0.0", True)
    failure(client.post(REFRESH, json={"strategy": []}), 400, "validation_failed")


def test_what_selects_no_stored_module(client: httpx.Client) -> None:
    upload(client, EXAMPLE)
    for strategy in (
        {"identifier": "gird"},
        {"identifier": "grid", "tag": "2"},
        {"identifier": "grid", "hash": "0" * 64},
        {"hash": "0" * 64},
        {"selector": "grid:2", "identifier": "grid"},
    ):
        body = {"id": "g", "strategy": strategy, "scope": {"main": {"symbols": ["BTC-USDT"]}}}
        failure(client.post(INSTANCES, json=body), 404, "not_found")
    body = {"id": "g", "strategy": {"selector": "grid@x"}, "scope": {"main": {"symbols": ["BTC-USDT"]}}}
    text = failure(client.post(INSTANCES, json=body), 400, "validation_failed")
    assert "`strategy.selector`" in text


def test_pins_survive_a_restart_and_the_folder_is_read(tmp_path: Path, cluster: EmbeddedPostgres) -> None:
    config, folder = tmp_path / "meltica.yaml", tmp_path / "strategies"
    folder.mkdir()
    (folder / "grid.py").write_text(EXAMPLE)
    config.write_text(
        "strategies: {directory: strategies}\n"
        "providers: {main: {adapter: replay, settings: {sample: true, loop: true}}}\n"
        "lambdas: {file: {strategy: 'grid:latest', scope: {main: BTC-USDT}}}\n"
    )
    with gateway.database(cluster) as dsn:
        with gateway.running(config, dsn, apiServer={"auth": "none"}) as running:
            create(running.client, identifier="grid")
            ok(running.client.post(f"{INSTANCES}/g/start"))
            first = ok(running.client.get(f"{PATH}/grid"))["hash"]
        (folder / "grid.py").write_text(SECOND)
        with gateway.running(config, dsn, apiServer={"auth": "none"}) as running:
            running.until(lambda: all(each.running for each in running.gateway.instances.all()))
            second = ok(running.client.get(f"{PATH}/grid"))["hash"]
            assert second != first
            assert [used(running.client, id) for id in ("file", "g")] == [(first, "1.0.0", True)] * 2
            [result] = ok(running.client.post(REFRESH))["results"]
            assert (result["reason"], result["instances"]) == ("refreshed", ["file", "g"])
        (folder / "grid.py").unlink()
        with gateway.running(config, dsn, apiServer={"auth": "none"}) as running:
            running.until(lambda: all(each.running for each in running.gateway.instances.all()))
            assert [used(running.client, id) for id in ("file", "g")] == [(second, "2.0.0", True)] * 2


def test_faults_have_the_form_of_existing_clients(client: httpx.Client) -> None:
    answer = client.post(PATH, json={"source": "x = 1\ny = (\n"})
    assert answer.status_code == 422
    diagnostic = {"stage": "compile", "message": "'(' was never closed", "line": 2, "column": 5}
    code = "strategy_validation_failed"
    expected = {"error": code, "code": code, "message": diagnostic["message"], "diagnostics": [diagnostic]}
    assert answer.json() == {"status": "error", **expected}
    assert ok(client.get(PATH))["modules"] == []


def test_refusals(client: httpx.Client) -> None:
    text = failure(
        client.post(PATH, json={"source": EXAMPLE.replace("version", "note")}), 400, "invalid_body"
    )
    assert "metadata version required" in text
    upload(client, EXAMPLE)
    text = failure(client.post(PATH, json={"source": f"{EXAMPLE}\n"}), 409, "already_exists")
    assert "the tag `1.0.0` of `grid` already exists" in text
    assert "body required" in failure(client.post(PATH), 400, "invalid_parameter")
    failure(client.post(PATH, json={"source": "  "}), 400, "invalid_body")
    failure(client.post(PATH, json={"source": EXAMPLE, "promote": True}), 400, "validation_failed")
    assert client.put(f"{PATH}/other", json={"source": EXAMPLE}).status_code == 422
    assert ok(client.put(f"{PATH}/grid:new", json={"source": f"{EXAMPLE}\n"}))["module"]["tag"] == "new"
    failure(client.get(f"{PATH}/grid:%20"), 400, "invalid_parameter")
    failure(client.get(f"{PATH}/none"), 404, "not_found")
    failure(client.put(f"{PATH}/grid/tags/x", json={"hash": "sha256:" + "0" * 64}), 404, "not_found")
    failure(client.put(f"{PATH}/grid/tags/x", json={"hash": "abc"}), 400, "invalid_body")
    failure(client.get(PATH, params={"limit": -1}), 400, "invalid_parameter")
    failure(client.delete(f"{PATH}/grid/tags/latest"), 409, "conflict")


def test_uploads_can_be_turned_off(tmp_path: Path, cluster: EmbeddedPostgres) -> None:
    config = tmp_path / "meltica.yaml"
    config.write_text("strategies: {upload: false}\n")
    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        text = failure(running.client.post(PATH, json={"source": EXAMPLE}), 403, "uploads_disabled")
        assert "strategies.upload" in text
        assert ok(running.client.get(PATH))["modules"] == []


def test_changes_of_a_module_take_its_version(client: httpx.Client) -> None:
    upload(client, EXAMPLE)
    of_module = f"{PATH}/grid"
    versions = [client.get(of_module).headers["etag"]]

    def sent(method: str, path: str, body: Any = None) -> httpx.Response:
        """Sends a change with the current version, which is refused with each earlier one."""
        content = {} if body is None else {"json": body}
        for version in ('"other"', *versions[:-1]):
            refused = client.request(method, path, headers={"if-match": version}, **content)
            failure(refused, 412, "precondition_failed")
            assert refused.headers["etag"] == versions[-1]
        query = "&plan=1" if "?" in path else "?plan=1"
        planned = client.request(method, path + query, headers={"if-match": versions[-1]}, **content)
        assert client.get(of_module).headers["etag"] == versions[-1]
        answer = client.request(method, path, headers={"if-match": versions[-1]}, **content)
        versions.append(client.get(of_module).headers["etag"])
        assert versions[-1] not in versions[:-1]
        assert planned.headers["etag"] == ok(planned)["etag"] == versions[-1]
        return answer

    second = sent("PUT", of_module, {"source": SECOND, "promoteLatest": False})
    assert second.headers["etag"] == versions[-1]
    hash = ok(second)["module"]["hash"]
    ok(sent("PUT", f"{of_module}/tags/stable", {"hash": hash}))
    assert client.get(f"{of_module}:stable").headers["etag"] == versions[-1]
    ok(sent("PUT", f"{of_module}/tags/latest", {"hash": hash}))
    ok(sent("DELETE", f"{of_module}/tags/1.0.0?allowOrphan=true"))
    failure(client.post(REFRESH, headers={"if-match": versions[-1]}), 412, "precondition_failed")
    failure(client.delete(of_module, headers={"if-match": versions[0]}), 412, "precondition_failed")
    assert client.delete(of_module, headers={"if-match": versions[-1]}).status_code == 204
    new = client.post(PATH, json={"source": EXAMPLE}, headers={"if-match": "*"})
    failure(new, 412, "precondition_failed")


def test_of_two_changes_of_one_version_one_is_made(client: httpx.Client) -> None:
    hash = upload(client, EXAMPLE)["module"]["hash"]
    headers = {"if-match": client.get(f"{PATH}/grid").headers["etag"]}

    def move(tag: str) -> int:
        return client.put(f"{PATH}/grid/tags/{tag}", json={"hash": hash}, headers=headers).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(move, "abcdefgh")) == [200, *[412] * 7]
