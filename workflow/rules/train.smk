rule train:
    """RGB, masks and folds to the network of one fold."""
    input:
        folds=f"{RESULTS}/folds.csv",
        rgb=of_trained(f"{DATA}/prepare/{{city}}/{{split}}/rgb.csv"),
        masks=of_trained(f"{DATA}/prepare/{{city}}/{{split}}/masks.csv"),
    output:
        model=f"{RESULTS}/train/fold{{fold}}/model.safetensors",
        settings=f"{RESULTS}/train/fold{{fold}}/model.json",
        metrics=f"{RESULTS}/train/fold{{fold}}/metrics.csv",
    log:
        f"{RESULTS}/logs/train/fold{{fold}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/fold{{fold}}.tsv"
    retries: 1
    conda:
        "../../envs/roadspeed.yaml"
    threads: 56
    resources:
        mem_mb=64000,
        runtime=2880,
        numa_node="auto",
    params:
        settings=as_json(CONFIG.train_settings),
        bins=as_json(CONFIG.speed_bins),
    shell:
        "roadspeed pin --threads {threads} --numa-node {resources.numa_node} -- "
        'python "$SCRIPTS"/train.py --fold {wildcards.fold} --folds {input.folds:q} --rgb {input.rgb:q}'
        " --masks {input.masks:q} --settings {params.settings:q} --bins {params.bins:q}"
        " --out {output.model:q} --threads {threads} 2> >(tee {log:q} >&2)"
