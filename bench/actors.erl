#!/usr/bin/env escript
%% -*- erlang -*-
%%! +S 1:1 +P 1000000
%% The BEAM's side of bench/actors.bench.ts: the same work, medians of 9, one JSON object.
-mode(compile).
-export([main/1, init/1, handle_call/3, handle_cast/2, terminate/2, start_link/0]).

init(sup) -> {ok, {#{strategy => simple_one_for_one, intensity => 1000000, period => 1},
                   [#{id => c, start => {?MODULE, start_link, []}, restart => temporary}]}};
init(one) -> {ok, {#{strategy => one_for_one, intensity => 1000000000, period => 1},
                   [#{id => c, start => {?MODULE, start_link, []}}]}};
init(S) -> {ok, S}.
start_link() -> gen_server:start_link(?MODULE, 0, []).
handle_call(_, _, S) -> {reply, ok, S}.
handle_cast(_, S) -> {noreply, S}.
terminate(_, _) -> ok.

median(F) -> F(), lists:nth(5, lists:sort([F() || _ <- lists:seq(1, 9)])).
rate(N, F) -> {T, _} = timer:tc(F), N / T * 1.0e6.

main(_) ->
    logger:set_primary_config(level, none),
    process_flag(trap_exit, true),
    {ok, P} = gen_server:start_link(?MODULE, 0, []),
    Call = median(fun() -> rate(200000, fun() -> times(200000, fun() -> gen_server:call(P, x) end) end) end),
    Cast = median(fun() -> rate(200000, fun() -> times(200000, fun() -> gen_server:cast(P, x) end),
                                                 gen_server:call(P, x, infinity) end) end),
    Spawn = median(fun() -> rate(10000, fun() -> times(10000, fun() ->
                {ok, Q} = gen_server:start(?MODULE, 0, []), gen_server:stop(Q) end) end) end),
    Dynamic = median(fun() ->
        {ok, S} = supervisor:start_link(?MODULE, sup),
        R = rate(10000, fun() -> times(10000, fun() -> {ok, _} = supervisor:start_child(S, []) end) end),
        exit(S, shutdown), receive {'EXIT', S, _} -> R end end),
    {ok, One} = supervisor:start_link(?MODULE, one),
    %% A long list of restarts would be searched at every one: as in the other bench, the period is one second.
    Restart = median(fun() -> rate(500, fun() -> restarts(500, One) end) end),
    ets:new(reg, [named_table, public, {read_concurrency, true}]),
    ets:insert(reg, {key, P}),
    Lookup = median(fun() -> rate(500000, fun() -> times(500000, fun() ->
                [{_, Q}] = ets:lookup(reg, key), true = is_process_alive(Q) end) end) end),
    erlang:garbage_collect(),
    M0 = erlang:memory(processes),
    Idle = [element(2, gen_server:start(?MODULE, 0, [])) || _ <- lists:seq(1, 20000)],
    Bytes = (erlang:memory(processes) - M0) / 20000,
    [exit(Q, kill) || Q <- Idle],
    Ring = median(fun() -> ring(1000, 20) end),
    io:format("{\"call\":~p,\"cast\":~p,\"spawn\":~p,\"dynamic\":~p,\"restart\":~p,\"lookup\":~p,\"bytes\":~p,\"ring\":~p}~n",
              [round(X) || X <- [Call, Cast, Spawn, Dynamic, Restart, Lookup, Bytes, Ring]]).

times(0, _) -> ok;
times(N, F) -> F(), times(N - 1, F).

restarts(0, _) -> ok;
restarts(N, S) ->
    [{_, P, _, _}] = supervisor:which_children(S),
    M = monitor(process, P), exit(P, kill), receive {'DOWN', M, _, _, _} -> ok end,
    restarts(N - 1, S).

ring(N, Rounds) ->
    Me = self(),
    First = lists:foldl(fun(_, Next) -> spawn_link(fun() -> forward(Next) end) end, Me, lists:seq(1, N)),
    R = rate(N * Rounds, fun() -> times(Rounds, fun() -> First ! token, receive token -> ok end end) end),
    First ! stop,
    receive stop -> ok end,
    R.

forward(Next) -> receive stop -> Next ! stop; M -> Next ! M, forward(Next) end.
