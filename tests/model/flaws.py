"""What may be taken away from the protocol, one at a time, to see what breaks."""

FLAWS = {
    "no_ver_guard": "a saga's row is changed without a look at `ver`",
    "no_barrier_row": "a local action does not look whether it was done under its key",
    "no_fence_row": "an undo of what never arrived leaves no row",
    "undo_only_known": "only steps that are known to have succeeded are undone",
    "unknown_is_refused": "no answer in time is taken for a refusal",
    "undo_gives_up": "an undo without an answer is taken for done",
    "first_stage_first": "the first stage is undone first",
    "compensating_late": "undos are sent before `compensating` is written",
    "pivot_not_final": "the deadline or a cancel turns round a saga that has sent its pivot",
    "decision_without_deadline": "entering the pivot does not look at the deadline",
    "decision_without_cancel": "entering the pivot does not look for a cancel",
    "pivot_refusal_forgotten": "the pivot's refusal is not stored",
    "retriable_refusal_stored": "the refusal of a step after the pivot is stored",
    "company_key_kept": "a step after the pivot asks its company again under the key that was refused",
    "company_key_new": "each call of the other company has a key of its own",
    "started_is_nothing": "an undo of `started` answers that there is nothing to undo",
    "started_not_written": "the other company is called before `started` is committed",
    "begun_then_refused": "a repeat of `started` that refuses before its call counts as a refusal",
    "verdict_unguarded": "the verdict of an outside call does not look for `started`",
    "company_forgets_undo": "a company answers an undo of an unseen key and does not remember it",
    "made_good_unfenced": "what makes good gives the money back without fencing the step that was refused",
    "made_good_by_inbox": "what fences that step looks at its inbox row alone, which a refusal takes away",
    "operator_unguarded": "an operator's action does not look whether the saga has changed since they looked",
    "operator_keeps_ver": "an operator's action does not raise `ver`",
    "force_in_doubt": "an operator may turn a saga round whose pivot is in doubt",
    "skip_pivot": "an operator may skip the pivot",
}
HARMLESS = {
    "claim_keeps_ver": "taking a saga over does not raise `ver`: the first commit of two drivers stops the other",
    "answers_what_was_undone": "an action that was undone answers its old result: its instance can commit nothing",
}
"""Whose lack costs calls, never safety: the model shows that too."""
