"""What is measured of a fitted head.

Rows of kind "fit" hold, with P pool prompts, T prompts of the path, K points of KL from 0 to `kl_end`, N sizes:

- `accuracy.<split>` `(prompts,)`: share of a split's clean pairs ordered correctly.
- `bon.<rule>` `(P, N)`: expected gold of the rule's choice among n; `bon.single` the mean over the members taken one at
  a time; `bon.over` and `bon.under` the mean's, where a random tenth of the responses is scored one sd of its pool too
  high or too low.
- `path.<rule>` `(T, K)`: gold of the policy that the rule's value tilts from π_ref, at fixed KL; NaN where the pool is
  no longer reliable; `path.single` as above. `proxy.<rule>` `(K,)`: the value's own gain, in sd under π_ref.
- `spread.<rule>` `(2,)`: the value's sd under π_ref, and the KL of the policy at a β that is the same for all rules.
- `reliability` `(3, bins)`: confidence, accuracy and weight of the calibration bins on the first split.
- `auroc.<space>` `(T,)`: how well the distance to the training texts tells hacked texts (proxy above the reference's
  95th percentile, gold below its median) from the others; NaN for prompts without any. Spaces: latent, joint, pca.
- `watch.kl`, `watch.gold` `(W,)` and `watch.<detector>.<space>` `(W,)`: detectors along the path; `alarm.<detector>.<space>`
  their p-values, where they have one.

Their numbers: nll, ece, brier, temperature, members. Rows of kind "control" (oracle, length, random) have `accuracy.`,
`bon.mean` and `path.mean`. Rows of kind "rl": `kl`, `gold`, `proxy` `(steps,)`, `watch.<detector>.<space>` `(steps,)`,
`cloud` `(m, 2)` and `latent` `(steps, batch, 2)` on the cloud's first two principal axes; note `steps`: one mapping a
step with its sampled texts. Rows of kind "tuning": note `trials` and `best`.
"""
