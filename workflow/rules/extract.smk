rule extract:
    """Probabilities of one city and split to road graphs, by chip and joined over the city."""
    input:
        chips=f"{DATA}/acquire/{{city}}/{{split}}/chips.csv",
        shards=shard_tables,
    output:
        roads=f"{RESULTS}/{{city}}/{{split}}/roads.gpkg",
        graphml=f"{RESULTS}/{{city}}/{{split}}/roads.graphml",
        chips=f"{RESULTS}/{{city}}/{{split}}/chips.gpkg",
    log:
        f"{RESULTS}/logs/extract/{{city}}_{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/extract/{{city}}_{{split}}.tsv"
    conda:
        "../../envs/roadspeed.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=120,
        numa_node="auto",
    params:
        settings=as_json(CONFIG.extract),
        bins=as_json(CONFIG.speed_bins),
    shell:
        "roadspeed pin --threads {threads} --numa-node {resources.numa_node} -- "
        'python "$SCRIPTS"/extract.py --chips {input.chips:q} --shards {input.shards:q}'
        " --settings {params.settings:q} --bins {params.bins:q} --out {output.roads:q} --threads {threads}"
        " 2> >(tee {log:q} >&2)"
