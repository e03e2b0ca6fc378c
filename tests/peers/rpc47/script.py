"""The calls that mean something, in order, so that every RPC is answered with success at least once and its refusals are met.

`calls(...)` adds to them what generator.py makes up. An id names a call; {"$from": "id/path"} stands for what it answered.
"""

import json

import generator

SEED = 47
# "CALLBACK" stands for the address of a sample SDK agent; run.py puts it in.
CALLBACK = {"$callback": True}
# What both clients take in trailers without further options; in base64 it grows by a third.
LARGE_DETAILS = 20_000
OK, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED = 0, 3, 5, 6, 7


def calls(rpcs: dict) -> list[dict]:
    """The whole list: every scripted call, then the made-up ones of every RPC, then failures of every kind."""
    made = [
        {"id": f"{path}#{number}", "rpc": path, "request": request}
        for path, rpc in sorted(rpcs.items())
        for number, request in enumerate(generator.requests(rpc, SEED, PINS))
    ]
    return [c | {"metadata": metadata(c["rpc"])} for c in SCRIPTED + made] + failures(rpcs)


def metadata(path: str) -> list[list[str]]:
    """What a caller sends along: names that are repeated and binary ones are where proxies slip.

    The sample backends give `x-echo-*` back in the head and in the trailers. The registrar is no sample: it gives nothing back.
    """
    return (
        []
        if path.startswith(_BINDU)
        else [["x-echo-one", "1"], ["x-echo-many", "a"], ["x-echo-many", "b, c"], ["x-echo-bin", "00ff10"]]
    )


def failures(rpcs: dict) -> list[dict]:
    """Every RPC of a sample backend fails with a status of its own and with details; a stream fails in its midst too."""
    made = []
    for number, (path, rpc) in enumerate(sorted(rpcs.items())):
        # HealthCheck never fails, and the registrar answers for itself.
        if path.startswith(_BINDU) or path.endswith("/HealthCheck"):
            continue
        status = 1 + number % 16
        asked = [["x-fail", str(status)], ["x-fail-message", f"asked for {status}, 100 %2B more"]]
        asked += [["x-fail-details", str(LARGE_DETAILS)]] if number % 4 == 0 else []
        made.append(
            {"id": f"{path}!{status}", "rpc": path, "request": {}, "code": status, "metadata": metadata(path) + asked}
        )
        if rpc.server_streaming:
            first = next(c for c in SCRIPTED if c["rpc"] == path)
            asked = [["x-fail-after", "1"], ["x-fail-after-status", str(status)]]
            made.append(
                first | {"id": f"{path}!{status} after one message", "code": status, "metadata": metadata(path) + asked}
            )
    return made


def call(name: str, rpc: str, request: dict | None = None, code: int = OK) -> dict:
    """A call with the status that it must have when it is made directly: a script that stops meaning what it says fails."""
    return {"id": name, "rpc": rpc, "request": request or {}, "code": code}


def answer(path: str) -> dict:
    return {"$from": path}


def struct(**members: str) -> dict:
    return {"fields": {name: {"string_value": value} for name, value in members.items()}}


def config(**changes) -> str:
    whole = {
        "author": "peers@example.com",
        "name": "sample",
        "description": "An agent of the rpc47 suite",
        "version": "1.0.0",
        "deployment": {"url": "http://127.0.0.1:3773", "expose": True},
    }
    return json.dumps({k: v for k, v in (whole | changes).items() if v is not None})


# Made-up callbacks would be dialled by the proxy: every registration names the sample agent, whatever else it holds.
PINS = {"bindu.grpc.RegisterAgentRequest.grpc_callback_address": CALLBACK}

_BINDU = "bindu.grpc.BinduService"
_AGENT = "bindu.grpc.AgentHandler"
_SKILL = {
    "name": "answering",
    "description": "Answers",
    "tags": ["qa"],
    "input_modes": ["text/plain"],
    "output_modes": ["text/plain"],
    "version": "1.0.0",
}
REGISTRAR = [
    call(
        "core.register",
        f"{_BINDU}/RegisterAgent",
        {"config_json": config(), "skills": [_SKILL], "grpc_callback_address": CALLBACK},
    ),
    call(
        "core.register_again",
        f"{_BINDU}/RegisterAgent",
        {"config_json": config(), "skills": [_SKILL], "grpc_callback_address": CALLBACK},
    ),
    call(
        "core.heartbeat",
        f"{_BINDU}/Heartbeat",
        {"agent_id": answer("core.register/agent_id"), "timestamp": "1767225600000"},
    ),
    call("core.heartbeat_of_nobody", f"{_BINDU}/Heartbeat", {"agent_id": "00000000-0000-0000-0000-000000000000"}),
    call(
        "core.not_json", f"{_BINDU}/RegisterAgent", {"config_json": "{author: me}", "grpc_callback_address": CALLBACK}
    ),
    *(
        call(
            f"core.without_{key}",
            f"{_BINDU}/RegisterAgent",
            {"config_json": config(**{key: None}), "grpc_callback_address": CALLBACK},
        )
        for key in ("author", "name", "deployment")
    ),
    call(
        "core.without_url",
        f"{_BINDU}/RegisterAgent",
        {"config_json": config(deployment={"expose": True}), "grpc_callback_address": CALLBACK},
    ),
    call(
        "core.without_expose",
        f"{_BINDU}/RegisterAgent",
        {"config_json": config(deployment={"url": "http://127.0.0.1:3773"}), "grpc_callback_address": CALLBACK},
    ),
    call("core.unregister", f"{_BINDU}/UnregisterAgent", {"agent_id": answer("core.register/agent_id")}),
    call("core.heartbeat_after_unregister", f"{_BINDU}/Heartbeat", {"agent_id": answer("core.register/agent_id")}),
    call("core.unregister_again", f"{_BINDU}/UnregisterAgent", {"agent_id": answer("core.register/agent_id")}),
]
AGENT = [
    call(
        "bindu.handle",
        f"{_AGENT}/HandleMessages",
        {"messages": [{"role": "user", "content": "What is 2 + 2?"}], "task_id": "t-1", "context_id": "c-1"},
    ),
    call("bindu.input_required", f"{_AGENT}/HandleMessages", {"messages": [{"role": "user", "content": " "}]}),
    call(
        "bindu.auth_required",
        f"{_AGENT}/HandleMessages",
        {"messages": [{"role": "user", "content": "Show my account"}]},
    ),
    call("bindu.no_messages", f"{_AGENT}/HandleMessages", {}, INVALID_ARGUMENT),
    call(
        "bindu.stream",
        f"{_AGENT}/HandleMessagesStream",
        {"messages": [{"role": "user", "content": "Tell me a story in several parts, please"}]},
    ),
    call("bindu.large", f"{_AGENT}/HandleMessages", {"messages": [{"role": "user", "content": "word " * 200_000}]}),
    call(
        "bindu.large_stream",
        f"{_AGENT}/HandleMessagesStream",
        {"messages": [{"role": "user", "content": "word " * 3_000}]},
    ),
    call("bindu.capabilities", f"{_AGENT}/GetCapabilities"),
    call("bindu.health", f"{_AGENT}/HealthCheck"),
]

_ASTRA = "openastra.AgentService"
_ASTRA_RUN = {
    "uid": "user-123",
    "message": "Summarize the latest research",
    "agent_id": "researcher",
    "surface": "api",
    "surface_id": "peers",
}
ASTRA = [
    call("astra.run", f"{_ASTRA}/RunAgentLoop", _ASTRA_RUN),
    call(
        "astra.run_on",
        f"{_ASTRA}/RunAgentLoop",
        _ASTRA_RUN | {"message": "And in one line?", "session_id": answer("astra.run/session_id")},
    ),
    call("astra.run_elsewhere", f"{_ASTRA}/RunAgentLoop", _ASTRA_RUN | {"agent_id": "nobody"}, NOT_FOUND),
    call(
        "astra.run_as_another",
        f"{_ASTRA}/RunAgentLoop",
        _ASTRA_RUN | {"uid": "user-9", "session_id": answer("astra.run/session_id")},
        PERMISSION_DENIED,
    ),
    call(
        "astra.remember",
        f"{_ASTRA}/RunAgentLoop",
        _ASTRA_RUN | {"message": "remember the milk", "session_id": answer("astra.run/session_id")},
    ),
    call("astra.stream", f"{_ASTRA}/RunAgentLoopStream", _ASTRA_RUN | {"session_id": answer("astra.run/session_id")}),
    call(
        "astra.stream_with_a_tool",
        f"{_ASTRA}/RunAgentLoopStream",
        _ASTRA_RUN | {"message": "recall", "session_id": answer("astra.run/session_id")},
    ),
    call("astra.stream_of_nobody", f"{_ASTRA}/RunAgentLoopStream", _ASTRA_RUN | {"agent_id": "nobody"}),
    call(
        "astra.spawn",
        f"{_ASTRA}/SpawnAgent",
        {
            "uid": "user-123",
            "parent_agent_id": "researcher",
            "target_agent_id": "coder",
            "task": "What is 6 * 7?",
            "depth": 1,
        },
    ),
    call("astra.health", f"{_ASTRA}/HealthCheck"),
]

_TOOLS = "aegis.seal_gateway.v1.ToolWorkflowService"
_GATEWAY = "aegis.seal_gateway.v1.GatewayInvocationService"
_WORKFLOW = {
    "name": "create-github-issue",
    "description": "Files an issue",
    "api_spec_id": "github",
    "input_schema_json": '{"type": "object", "properties": {"title": {"type": "string"}}}',
    "steps": [
        {
            "name": "create",
            "operation_id": "issues/create",
            "body_template": '{"title": "{{title}}"}',
            "extractors": {"number": "$.number", "url": "$.url"},
            "on_error": "AbortWorkflow",
        }
    ],
}
_INVOKE = {
    "execution_id": "exec-8a9f7b3c",
    "workflow_name": "create-github-issue",
    "input_json": '{"title": "From a peer"}',
    "tenant_id": "tenant-acme",
}
_EXPLORE = {
    "api_spec_id": "tracker",
    "operation_id": "issues.list",
    "fields": ["id", "title"],
    "include_hateoas_hints": True,
    "tenant_id": "tenant-acme",
}
SEAL = [
    call("seal.create", f"{_TOOLS}/CreateWorkflow", {"workflow": _WORKFLOW}),
    call("seal.create_again", f"{_TOOLS}/CreateWorkflow", {"workflow": _WORKFLOW}, ALREADY_EXISTS),
    call("seal.create_without_steps", f"{_TOOLS}/CreateWorkflow", {"workflow": {"name": "idle"}}, INVALID_ARGUMENT),
    call("seal.get", f"{_TOOLS}/GetWorkflow", {"workflow_id": answer("seal.create/workflow/id")}),
    call("seal.list", f"{_TOOLS}/ListWorkflows"),
    call("seal.invoke", f"{_GATEWAY}/InvokeWorkflow", _INVOKE),
    call(
        "seal.invoke_unknown", f"{_GATEWAY}/InvokeWorkflow", _INVOKE | {"workflow_name": "nobody-wrote-this"}, NOT_FOUND
    ),
    call("seal.tools", f"{_GATEWAY}/ListTools"),
    call("seal.explore", f"{_GATEWAY}/ExploreApi", _EXPLORE),
    call("seal.explore_nothing", f"{_GATEWAY}/ExploreApi", _EXPLORE | {"operation_id": "issues.burn"}, NOT_FOUND),
    call(
        "seal.cli",
        f"{_GATEWAY}/InvokeCli",
        {"execution_id": "exec-8a9f7b3c", "tool_name": "text", "subcommand": "upper", "args": ["straße", "peer"]},
    ),
    call(
        "seal.cli_fails",
        f"{_GATEWAY}/InvokeCli",
        {
            "tool_name": "mounts",
            "subcommand": "check",
            "args": ["/data/x"],
            "fsal_mounts": [{"volume_id": "v1", "mount_path": "/logs"}],
        },
    ),
    call("seal.cli_unknown", f"{_GATEWAY}/InvokeCli", {"tool_name": "rm"}, NOT_FOUND),
    call(
        "seal.update",
        f"{_TOOLS}/UpdateWorkflow",
        {"workflow": _WORKFLOW | {"id": answer("seal.create/workflow/id"), "description": "Files an issue, twice"}},
    ),
    call("seal.get_updated", f"{_TOOLS}/GetWorkflow", {"workflow_id": answer("seal.create/workflow/id")}),
    call("seal.delete", f"{_TOOLS}/DeleteWorkflow", {"workflow_id": answer("seal.create/workflow/id")}),
    call("seal.get_deleted", f"{_TOOLS}/GetWorkflow", {"workflow_id": answer("seal.create/workflow/id")}, NOT_FOUND),
]

_TASKS = "shannon.orchestrator.OrchestratorService"
_EVENTS = "shannon.orchestrator.StreamingService"
_WORKER = "shannon.agent.AgentService"
_LLM = "shannon.llm.LLMService"
_SESSIONS = "shannon.session.SessionService"
_METADATA = {
    "user_id": "user-123",
    "session_id": "session-1",
    "tenant_id": "tenant-acme",
    "labels": {"team": "peers", "run": "47"},
}
_SUBMIT = {
    "metadata": _METADATA,
    "query": "Analyze Q4 sales data and create visualizations",
    "context": struct(region="EMEA"),
    "auto_decompose": True,
}
_EXECUTE = {
    "metadata": _METADATA,
    "query": "Load the data",
    "mode": 2,
    "available_tools": ["csv_loader"],
    "config": {"max_iterations": 3, "timeout_seconds": 10},
}
_COMPLETE = {
    "messages": [{"role": "user", "content": "Say something about the sea"}],
    "tier": 1,
    "config": {"temperature": 0.5, "max_tokens": 64},
    "metadata": _METADATA,
}
SHANNON = [
    call("task.submit", f"{_TASKS}/SubmitTask", _SUBMIT),
    call("task.status", f"{_TASKS}/GetTaskStatus", {"task_id": answer("task.submit/task_id"), "include_details": True}),
    call("task.events", f"{_EVENTS}/StreamTaskExecution", {"workflow_id": answer("task.submit/workflow_id")}),
    call(
        "task.events_resumed",
        f"{_EVENTS}/StreamTaskExecution",
        {"workflow_id": answer("task.submit/workflow_id"), "last_event_id": "2"},
    ),
    call(
        "task.events_of_a_type",
        f"{_EVENTS}/StreamTaskExecution",
        {"workflow_id": answer("task.submit/workflow_id"), "types": ["WORKFLOW_STARTED", "WORKFLOW_COMPLETED"]},
    ),
    call("task.events_of_nobody", f"{_EVENTS}/StreamTaskExecution", {"workflow_id": "wf-nobody"}, NOT_FOUND),
    call(
        "task.status_done",
        f"{_TASKS}/GetTaskStatus",
        {"task_id": answer("task.submit/task_id"), "include_details": True},
    ),
    call("task.status_of_nobody", f"{_TASKS}/GetTaskStatus", {"task_id": "task-nobody"}, NOT_FOUND),
    call("task.list", f"{_TASKS}/ListTasks", {"user_id": "user-123", "limit": 10}),
    call("task.session", f"{_TASKS}/GetSessionContext", {"session_id": "session-1"}),
    call("task.templates", f"{_TASKS}/ListTemplates"),
    call("task.submit_for_approval", f"{_TASKS}/SubmitTask", _SUBMIT | {"require_approval": True}),
    call("task.approvals", f"{_TASKS}/GetPendingApprovals", {"user_id": "user-123"}),
    call(
        "task.approve",
        f"{_TASKS}/ApproveTask",
        {
            "approval_id": answer("task.approvals/approvals/0/approval_id"),
            "workflow_id": answer("task.submit_for_approval/workflow_id"),
            "approved": True,
            "approved_by": "lead",
        },
    ),
    call("task.submit_and_cancel", f"{_TASKS}/SubmitTask", _SUBMIT | {"require_approval": True}),
    call(
        "task.cancel",
        f"{_TASKS}/CancelTask",
        {"task_id": answer("task.submit_and_cancel/task_id"), "reason": "changed my mind"},
    ),
    call("worker.execute", f"{_WORKER}/ExecuteTask", _EXECUTE),
    call("worker.stream", f"{_WORKER}/StreamExecuteTask", _EXECUTE),
    call("worker.capabilities", f"{_WORKER}/GetCapabilities"),
    call("worker.health", f"{_WORKER}/HealthCheck"),
    call("worker.discover", f"{_WORKER}/DiscoverTools", {"max_results": 10}),
    call("worker.tool", f"{_WORKER}/GetToolCapability", {"tool_id": answer("worker.discover/tools/0/id")}),
    call("worker.tool_of_nobody", f"{_WORKER}/GetToolCapability", {"tool_id": "no-such-tool"}, NOT_FOUND),
    call("llm.complete", f"{_LLM}/GenerateCompletion", _COMPLETE),
    call("llm.stream", f"{_LLM}/StreamCompletion", _COMPLETE),
    call("llm.embed", f"{_LLM}/EmbedText", {"texts": ["the sea", "the shore"], "model": ""}),
    call(
        "llm.complexity",
        f"{_LLM}/AnalyzeComplexity",
        {"query": "Analyze Q4 sales data", "available_tools": ["csv_loader", "pandas"]},
    ),
    call("llm.models", f"{_LLM}/ListModels"),
    call(
        "session.create",
        f"{_SESSIONS}/CreateSession",
        {"user_id": "user-123", "initial_context": struct(mood="curious"), "max_history": 10, "ttl_seconds": 3600},
    ),
    call(
        "session.add",
        f"{_SESSIONS}/AddMessage",
        {
            "session_id": answer("session.create/session_id"),
            "message": {"role": "user", "content": "hello", "tokens_used": 3},
        },
    ),
    call(
        "session.get",
        f"{_SESSIONS}/GetSession",
        {"session_id": answer("session.create/session_id"), "include_history": True},
    ),
    call(
        "session.update",
        f"{_SESSIONS}/UpdateSession",
        {
            "session_id": answer("session.create/session_id"),
            "context_updates": struct(mood="bored"),
            "extend_ttl_seconds": 60,
        },
    ),
    call("session.list", f"{_SESSIONS}/ListSessions", {"user_id": "user-123", "limit": 10}),
    call(
        "session.clear",
        f"{_SESSIONS}/ClearHistory",
        {"session_id": answer("session.create/session_id"), "keep_context": True},
    ),
    call("session.delete", f"{_SESSIONS}/DeleteSession", {"session_id": answer("session.create/session_id")}),
    call(
        "session.get_deleted", f"{_SESSIONS}/GetSession", {"session_id": answer("session.create/session_id")}, NOT_FOUND
    ),
]

SCRIPTED = REGISTRAR + AGENT + ASTRA + SEAL + SHANNON
