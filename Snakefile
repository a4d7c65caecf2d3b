# roadspeed: satellite tarballs to scored road graphs with speeds. This file is the table of contents.
from snakemake.utils import min_version

min_version("9.0")

# A --configfile stands for itself: were it laid over the default one, the real study's cities would join in.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


localrules:
    all,


rule all:
    """Everything for every city and split of the config."""
    default_target: True
    input:
        f"{RESULTS}/report.html",
        [f"{RESULTS}/{city}/{split}/roads.gpkg" for city, split in SPLITS],
        [f"{RESULTS}/{city}/{split}/submission.csv" for city, split in SPLITS],


include: "workflow/rules/acquire.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/extract.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/report.smk"
