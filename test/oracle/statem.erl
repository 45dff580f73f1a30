%% -*- erlang -*-
%%! +S 1:1 +sbwt none -kernel logger_level none
%%%============================================================================
%%% statem.erl - runs machines made of tables on the REAL gen_statem and prints what
%%% happened. One JSON scenario per stdin line -> one JSON trace per stdout line.
%%%
%%% SCENARIO = {"enter":bool, "limit":N, "init":{"state":S,"actions":[ACTION..]},
%%%             "states":{S:{EVENT:[RESULT..]}}, "steps":[[OP..]..]}
%%%   EVENT  = an event's tag, or "enter"; the results are used in turn, by the number of
%%%            callbacks so far; after `limit` callbacks everything is keep_state_and_data.
%%%   Tags: c* call, e* cast, i* internal, t* named timeout, s* state timeout, v* event
%%%   timeout, "info".
%%% RESULT = {"do":"next_state"|"keep_state"|"keep_state_and_data"|"repeat_state"
%%%           |"repeat_state_and_data"|"stop"|"stop_data"|"stop_and_reply"|"crash"|"bad",
%%%           "to":S, "actions":[ACTION..]}
%%% ACTION = ["postpone"] | ["no_postpone"] | ["reply"] (the caller who waits longest)
%%%        | ["next",TAG] | ["next_call",TAG] (the caller of this event) | ["start",TAG,MS]
%%%        | ["cancel",TAG] | ["update",TAG]
%%% OP     = {"op":"cast"|"call"|"info","tag":TAG,"id":N} | {"op":"advance","ms":N}
%%%          A step's operations are all in the mailbox before the machine goes on.
%%% TRACE  = [[EVENT..]..], one list for the start and one a step:
%%%          ["h",State,Tag,Payload,N] ["enter",State,Previous,N] ["reply",Id,N]
%%%          ["terminate",Reason,State,N] ["down",Reason]
%%%          {"quirk":true} when the bug of OTP 25 was met by which a timeout of zero that
%%%          is started again with a time arrives as a plain message.
%%%
%%% Nothing sleeps: timers run for an hour or more of real time, and "advance" makes those
%%% that are due fire, by what tracing erlang:start_timer/4 has told.
%%%============================================================================
-module(statem).
-export([main/1, init/1, callback_mode/0, handle_event/4, terminate/3]).
-mode(compile).

main(_) ->
    io:setopts([binary, {encoding, utf8}]),
    process_flag(trap_exit, true),
    erlang:trace_pattern({erlang, start_timer, 4}, [{'_', [], [{return_trace}]}], []),
    loop().

loop() ->
    case io:get_line(standard_io, <<>>) of
        eof -> ok;
        {error, _} -> ok;
        Line ->
            io:put_chars(standard_io, [in_runner(dec(Line)), $\n]),
            loop()
    end.

in_runner(Sc) ->
    {Runner, Mon} = spawn_monitor(fun() -> exit({result, run(Sc)}) end),
    receive
        {'DOWN', Mon, process, Runner, {result, Trace}} -> enc(Trace);
        {'DOWN', Mon, process, Runner, Crash} -> enc(#{error => fmt(Crash)})
    after 10000 -> exit(Runner, kill), enc(#{error => <<"timeout">>})
    end.

%%%---------------------------------------------------------------- the driver

run(#{<<"steps">> := Steps} = Sc) ->
    put(now, 0),
    put(timers, []),
    {ok, {Pid, Mon}} = gen_statem:start_monitor(?MODULE, {self(), Sc}, []),
    First = settle(Pid, Mon),
    Traces = [First | [step(Ops, Pid, Mon) || Ops <- Steps]],
    exit(Pid, kill),
    case get(quirk) of
        true -> #{quirk => true};
        _ -> Traces
    end.

step(Ops, Pid, Mon) ->
    case is_process_alive(Pid) of
        true ->
            erlang:suspend_process(Pid),
            [op(Op, Pid) || Op <- Ops],
            erlang:resume_process(Pid),
            settle(Pid, Mon);
        false -> []
    end.

op(#{<<"op">> := <<"cast">>, <<"tag">> := Tag, <<"id">> := Id}, Pid) ->
    gen_statem:cast(Pid, {Tag, Id});
op(#{<<"op">> := <<"call">>, <<"tag">> := Tag, <<"id">> := Id}, Pid) ->
    Pid ! {'$gen_call', {self(), {call, Id}}, {Tag, Id}};
op(#{<<"op">> := <<"info">>, <<"id">> := Id}, Pid) ->
    Pid ! {<<"info">>, Id};
op(#{<<"op">> := <<"advance">>, <<"ms">> := Ms}, Pid) ->
    put(now, get(now) + Ms),
    fire(Pid).

fire(Pid) ->
    Now = get(now),
    {Due, Rest} = lists:partition(fun({At, _, _}) -> At =< Now end, get(timers)),
    put(timers, Rest),
    [case erlang:cancel_timer(Ref) of
         false -> ok;
         _ -> Pid ! {timeout, Ref, Type}
     end || {_, Ref, Type} <- lists:sort(Due)].

%% Waits until the machine has nothing to do and everything it told has arrived.
settle(Pid, Mon) ->
    catch sys:get_state(Pid),
    Delivered = erlang:trace_delivered(Pid),
    receive {trace_delivered, _, Delivered} -> ok end,
    collect(Mon, undefined).

collect(Mon, Call) ->
    receive
        {trace, _, call, {erlang, start_timer, [Time, _, Type, _]}} -> collect(Mon, {Time, Type});
        {trace, _, return_from, {erlang, start_timer, 4}, Ref} ->
            {Time, Type} = Call,
            put(timers, [{get(now) + Time - 3600000, Ref, Type} | get(timers)]),
            collect(Mon, undefined);
        {told, What} -> [What | collect(Mon, Call)];
        {{call, Id}, N} -> [[<<"reply">>, Id, N] | collect(Mon, Call)];
        quirk -> put(quirk, true), collect(Mon, Call);
        {'DOWN', Mon, process, _, Reason} -> [[<<"down">>, reason(Reason)] | collect(Mon, Call)]
    after 0 -> []
    end.

reason({boom, _}) -> crash;
reason(boom) -> crash;
reason(R) when is_atom(R) -> R;
reason(R) when is_binary(R) -> R;
reason({{bad, _}, _}) -> bad;
reason({B, _}) when is_atom(B) -> case atom_to_list(B) of "bad_" ++ _ -> bad; _ -> fmt(B) end;
reason({{B, _}, _}) when is_atom(B) -> case atom_to_list(B) of "bad_" ++ _ -> bad; _ -> fmt(B) end;
reason(R) -> fmt(R).

%%%---------------------------------------------------------------- the machine

-record(data, {n = 0, waiting = []}).

init({Driver, Sc}) ->
    put(driver, Driver),
    put(scenario, Sc),
    put(count, 0),
    erlang:trace(self(), true, [call, {tracer, Driver}]),
    #{<<"init">> := #{<<"state">> := State, <<"actions">> := Actions}} = Sc,
    {Erl, _} = actions(Actions, undefined, []),
    {ok, State, #data{}, Erl}.

callback_mode() ->
    case get(scenario) of
        #{<<"enter">> := true} -> [handle_event_function, state_enter];
        _ -> [handle_event_function]
    end.

handle_event(enter, Previous, State, #data{n = N} = Data) ->
    tell([<<"enter">>, State, Previous, N]),
    result(State, <<"enter">>, undefined, Data);
handle_event({call, From}, {Tag, Payload}, State, #data{n = N, waiting = Waiting} = Data) ->
    tell([<<"h">>, State, Tag, Payload, N]),
    result(State, Tag, From, Data#data{waiting = Waiting ++ [From]});
handle_event(info, {timeout, _, _}, _, _) ->
    get(driver) ! quirk,
    keep_state_and_data;
handle_event(_Type, {Tag, Payload}, State, #data{n = N} = Data) ->
    tell([<<"h">>, State, Tag, Payload, N]),
    result(State, Tag, undefined, Data).

terminate(Reason, State, #data{n = N}) ->
    tell([<<"terminate">>, reason(Reason), State, N]).

tell(What) -> get(driver) ! {told, What}.

result(State, Tag, From, Data0) ->
    Count = get(count),
    put(count, Count + 1),
    #{<<"states">> := #{State := Table}, <<"limit">> := Limit} = get(scenario),
    case Table of
        #{Tag := Results} when Count < Limit ->
            Result = lists:nth(Count rem length(Results) + 1, Results),
            {Actions, Waiting} = actions(maps:get(<<"actions">>, Result, []), From, Data0#data.waiting),
            Data = Data0#data{n = Data0#data.n + 1, waiting = Waiting},
            do(maps:get(<<"do">>, Result), maps:get(<<"to">>, Result, null), Actions, Data);
        _ -> keep_state_and_data
    end.

do(<<"next_state">>, To, Actions, Data) -> {next_state, To, Data, Actions};
do(<<"keep_state">>, _, Actions, Data) -> {keep_state, Data, Actions};
do(<<"keep_state_and_data">>, _, Actions, _) -> {keep_state_and_data, Actions};
do(<<"repeat_state">>, _, Actions, Data) -> {repeat_state, Data, Actions};
do(<<"repeat_state_and_data">>, _, Actions, _) -> {repeat_state_and_data, Actions};
do(<<"stop">>, _, _, _) -> stop;
do(<<"stop_data">>, _, _, Data) -> {stop, r1, Data};
do(<<"stop_and_reply">>, _, Actions, Data) -> {stop_and_reply, r2, [A || {reply, _, _} = A <- Actions], Data};
do(<<"crash">>, _, _, _) -> error(boom);
do(<<"bad">>, _, _, _) -> {bad, thing}.

actions([], _, Waiting) -> {[], Waiting};
actions([Action | Rest], From, Waiting) ->
    {Erl, W} = action(Action, From, Waiting),
    {More, W1} = actions(Rest, From, W),
    {Erl ++ More, W1}.

action([<<"postpone">>], _, W) -> {[postpone], W};
action([<<"no_postpone">>], _, W) -> {[{postpone, false}], W};
action([<<"reply">>], _, []) -> {[], []};
action([<<"reply">>], _, [From | W]) -> {[{reply, From, get(count)}], W};
action([<<"next">>, Tag], _, W) -> {[{next_event, kind(Tag), {Tag, get(count)}}], W};
action([<<"next_call">>, _], undefined, W) -> {[], W};
action([<<"next_call">>, Tag], From, W) -> {[{next_event, {call, From}, {Tag, get(count)}}], W};
action([<<"start">>, Tag, <<"infinity">>], _, W) -> {[{kind(Tag), infinity, {Tag, get(count)}}], W};
action([<<"start">>, Tag, 0], _, W) -> {[{kind(Tag), 0, {Tag, get(count)}}], W};
action([<<"start">>, Tag, Ms], _, W) -> {[{kind(Tag), Ms + 3600000, {Tag, get(count)}}], W};
action([<<"cancel">>, Tag], _, W) -> {[{kind(Tag), cancel}], W};
action([<<"update">>, Tag], _, W) -> {[{kind(Tag), update, {Tag, get(count)}}], W}.

kind(<<"e", _/binary>>) -> cast;
kind(<<"info">>) -> info;
kind(<<"i", _/binary>>) -> internal;
kind(<<"t", _/binary>> = Tag) -> {timeout, Tag};
kind(<<"s", _/binary>>) -> state_timeout;
kind(<<"v", _/binary>>) -> timeout.

%%%---------------------------------------------------------------- JSON

fmt(T) -> unicode:characters_to_binary(io_lib:format("~0p", [T])).

enc(true) -> "true";
enc(false) -> "false";
enc(null) -> "null";
enc(A) when is_atom(A) -> enc(atom_to_binary(A));
enc(I) when is_integer(I) -> integer_to_binary(I);
enc(F) when is_float(F) -> float_to_binary(F, [short]);
enc(B) when is_binary(B) -> [$", << <<(esc(C))/binary>> || <<C/utf8>> <= B >>, $"];
enc(L) when is_list(L) -> [$[, lists:join($,, [enc(X) || X <- L]), $]];
enc(M) when is_map(M) ->
    Keys = [],
    Rest = maps:to_list(maps:without(Keys, M)),
    [${, lists:join($,, [[enc_key(K), $:, enc(V)] || {K, V} <- [{K, maps:get(K, M)} || K <- Keys] ++ Rest]), $}].

enc_key(K) when is_atom(K) -> enc(atom_to_binary(K));   % also for 'true' and friends
enc_key(K) -> enc(K).

esc($") -> <<"\\\"">>;
esc($\\) -> <<"\\\\">>;
esc($\n) -> <<"\\n">>;
esc(C) when C < 32 -> iolist_to_binary(io_lib:format("\\u~4.16.0b", [C]));
esc(C) -> <<C/utf8>>.

dec(B) ->
    {V, Rest} = val(ws(B)),
    <<>> = ws(Rest),
    V.

ws(<<C, R/binary>>) when C =:= $\s; C =:= $\t; C =:= $\n; C =:= $\r -> ws(R);
ws(B) -> B.

val(<<"{", R/binary>>) ->
    case ws(R) of <<"}", R1/binary>> -> {#{}, R1}; R1 -> obj(R1, #{}) end;
val(<<"[", R/binary>>) ->
    case ws(R) of <<"]", R1/binary>> -> {[], R1}; R1 -> arr(R1, []) end;
val(<<"\"", R/binary>>) -> str(R, []);
val(<<"true", R/binary>>) -> {true, R};
val(<<"false", R/binary>>) -> {false, R};
val(<<"null", R/binary>>) -> {null, R};
val(B) ->
    {match, [{0, Len}]} = re:run(B, "^-?[0-9]+(\\.[0-9]+)?([eE][-+]?[0-9]+)?", [{capture, first}]),
    <<Num:Len/binary, R/binary>> = B,
    {try binary_to_integer(Num)
     catch error:_ -> try binary_to_float(Num)
                      catch error:_ -> binary_to_float(re:replace(Num, "[eE]", ".0e", [{return, binary}])) end
     end, R}.

obj(<<"\"", R/binary>>, M) ->
    {K, R1} = str(R, []),
    <<":", R2/binary>> = ws(R1),
    {V, R3} = val(ws(R2)),
    case ws(R3) of
        <<",", R4/binary>> -> obj(ws(R4), M#{K => V});
        <<"}", R4/binary>> -> {M#{K => V}, R4}
    end.

arr(B, Acc) ->
    {V, R} = val(B),
    case ws(R) of
        <<",", R1/binary>> -> arr(ws(R1), [V | Acc]);
        <<"]", R1/binary>> -> {lists:reverse([V | Acc]), R1}
    end.

str(<<"\"", R/binary>>, Acc) -> {unicode:characters_to_binary(lists:reverse(Acc)), R};
str(<<"\\u", H:4/binary, R/binary>>, Acc) ->
    case {binary_to_integer(H, 16), R} of
        {Hi, <<"\\u", L:4/binary, R1/binary>>} when Hi >= 16#D800, Hi < 16#DC00 ->
            Lo = binary_to_integer(L, 16),
            str(R1, [16#10000 + ((Hi - 16#D800) bsl 10) + (Lo - 16#DC00) | Acc]);
        {C, _} -> str(R, [C | Acc])
    end;
str(<<"\\", C, R/binary>>, Acc) ->
    str(R, [case C of $n -> $\n; $t -> $\t; $r -> $\r; $b -> $\b; $f -> $\f; _ -> C end | Acc]);
str(<<C/utf8, R/binary>>, Acc) -> str(R, [C | Acc]).
