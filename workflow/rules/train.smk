# Only choosing the best epoch by graphs makes training depend on what later stages are set to.
BY_GRAPHS = CONFIG.train.best_by == "apls"


rule train:
    """RGB, masks and folds to the network of one fold."""
    input:
        folds=f"{RESULTS}/folds.csv",
        rgb=of_trained(f"{DATA}/prepare/{{city}}/{{split}}/rgb.csv"),
        masks=of_trained(f"{DATA}/prepare/{{city}}/{{split}}/masks.csv"),
        chips=(
            of_trained(f"{DATA}/acquire/{{city}}/{{split}}/chips.csv")
            if BY_GRAPHS
            else []
        ),
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
        graphs=(
            f"--extract {shlex.quote(as_json(CONFIG.extract))} --score {shlex.quote(as_json(CONFIG.score))} --chips"
            if BY_GRAPHS
            else ""
        ),
    shell:
        "roadspeed pin --threads {threads} --numa-node {resources.numa_node} -- "
        'python "$SCRIPTS"/train.py --fold {wildcards.fold} --folds {input.folds:q} --rgb {input.rgb:q}'
        " --masks {input.masks:q} --settings {params.settings:q} --bins {params.bins:q}"
        " {params.graphs} {input.chips:q} --out {output.model:q} --threads {threads} 2> >(tee {log:q} >&2)"
