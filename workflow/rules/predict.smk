# Networks in INT8 are quantised once, on images that they were trained on, by the first job that needs them.
CALIBRATION = (
    of_trained(f"{DATA}/prepare/{{city}}/{{split}}/rgb.csv")
    if CONFIG.predict.precision == "int8"
    else []
)


rule predict:
    """RGB and networks to the probabilities of one shard of a city and split."""
    input:
        chips=f"{DATA}/acquire/{{city}}/{{split}}/chips.csv",
        rgb=f"{DATA}/prepare/{{city}}/{{split}}/rgb.csv",
        folds=f"{RESULTS}/folds.csv",
        models=expand(
            f"{RESULTS}/train/fold{{fold}}/model.safetensors", fold=CONFIG.folds
        ),
        calibration=CALIBRATION,
    output:
        table=f"{RESULTS}/predict/{{city}}/{{split}}/shard{{shard}}.csv",
    log:
        f"{RESULTS}/logs/predict/{{city}}_{{split}}_{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/predict/{{city}}_{{split}}_{{shard}}.tsv"
    retries: 1
    conda:
        "../../envs/roadspeed.yaml"
    threads: 56
    resources:
        mem_mb=16000,
        runtime=240,
        numa_node="auto",
    params:
        shards=CONFIG.shards,
        settings=as_json(CONFIG.predict),
    shell:
        "roadspeed pin --threads {threads} --numa-node {resources.numa_node} -- "
        'python "$SCRIPTS"/predict.py --shard {wildcards.shard} --shards {params.shards}'
        " --rgb {input.rgb:q} --chips {input.chips:q} --models {input.models:q} --folds {input.folds:q}"
        " --calibration {input.calibration:q}"
        " --settings {params.settings:q} --out {output.table:q} --threads {threads} 2> >(tee {log:q} >&2)"
