rule score:
    """Road graphs of a labelled city against its labels."""
    input:
        chips=f"{DATA}/acquire/{{city}}/{{split}}/chips.csv",
        graphs=f"{RESULTS}/{{city}}/{{split}}/chips.gpkg",
        shards=shard_tables,
    output:
        scores=f"{RESULTS}/{{city}}/{{split}}/scores.csv",
    log:
        f"{RESULTS}/logs/score/{{city}}_{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/score/{{city}}_{{split}}.tsv"
    conda:
        "../../envs/roadspeed.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime=60,
        numa_node="auto",
    params:
        settings=as_json(CONFIG.score),
    shell:
        "roadspeed pin --threads {threads} --numa-node {resources.numa_node} -- "
        'python "$SCRIPTS"/score.py --chips {input.chips:q} --graphs {input.graphs:q}'
        " --shards {input.shards:q} --settings {params.settings:q} --out {output.scores:q} --threads {threads}"
        " 2> >(tee {log:q} >&2)"


rule submission:
    """Road graphs of one city and split to the challenge's table."""
    input:
        chips=f"{DATA}/acquire/{{city}}/{{split}}/chips.csv",
        graphs=f"{RESULTS}/{{city}}/{{split}}/chips.gpkg",
    output:
        table=f"{RESULTS}/{{city}}/{{split}}/submission.csv",
    log:
        f"{RESULTS}/logs/submission/{{city}}_{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/submission/{{city}}_{{split}}.tsv"
    conda:
        "../../envs/roadspeed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        'python "$SCRIPTS"/submission.py --chips {input.chips:q} --graphs {input.graphs:q}'
        " --out {output.table:q} 2> >(tee {log:q} >&2)"


rule summary:
    """Scores of all labelled cities to the run's table."""
    input:
        scores=expand(f"{RESULTS}/{{city}}/train/scores.csv", city=LABELLED),
    output:
        scores=report(
            f"{RESULTS}/scores.csv",
            category="Scores",
            labels={"table": "APLS by city"},
        ),
    log:
        f"{RESULTS}/logs/summary.log",
    benchmark:
        f"{RESULTS}/benchmarks/summary.tsv"
    conda:
        "../../envs/roadspeed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cities=LABELLED,
    shell:
        'python "$SCRIPTS"/summary.py --cities {params.cities} --scores {input.scores:q}'
        " --out {output.scores:q} 2> >(tee {log:q} >&2)"
