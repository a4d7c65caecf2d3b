rule map:
    """The mosaic of one city and split with its roads coloured by speed."""
    input:
        chips=f"{DATA}/acquire/{{city}}/{{split}}/chips.csv",
        rgb=f"{DATA}/prepare/{{city}}/{{split}}/rgb.csv",
        roads=f"{RESULTS}/{{city}}/{{split}}/roads.gpkg",
    output:
        picture=report(
            f"{RESULTS}/{{city}}/{{split}}/map.png",
            category="Maps",
            labels={"city": "{city}", "split": "{split}"},
        ),
    log:
        f"{RESULTS}/logs/map/{{city}}_{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/map/{{city}}_{{split}}.tsv"
    conda:
        "../../envs/roadspeed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=as_json(CONFIG.report),
    shell:
        'python "$SCRIPTS"/map.py --chips {input.chips:q} --rgb {input.rgb:q} --roads {input.roads:q}'
        " --settings {params.settings:q} --out {output.picture:q} 2> >(tee {log:q} >&2)"


rule chip_pictures:
    """Chips of a labelled city: image, labels, probability and graph side by side."""
    input:
        chips=f"{DATA}/acquire/{{city}}/{{split}}/chips.csv",
        rgb=f"{DATA}/prepare/{{city}}/{{split}}/rgb.csv",
        shards=shard_tables,
        graphs=f"{RESULTS}/{{city}}/{{split}}/chips.gpkg",
        scores=f"{RESULTS}/{{city}}/{{split}}/scores.csv",
    output:
        picture=report(
            f"{RESULTS}/{{city}}/{{split}}/chips.png",
            category="Chips",
            labels={"city": "{city}", "split": "{split}"},
        ),
    log:
        f"{RESULTS}/logs/chip_pictures/{{city}}_{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/chip_pictures/{{city}}_{{split}}.tsv"
    conda:
        "../../envs/roadspeed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=as_json(CONFIG.report),
    shell:
        'python "$SCRIPTS"/chip_pictures.py --chips {input.chips:q} --rgb {input.rgb:q} --shards {input.shards:q}'
        " --graphs {input.graphs:q} --scores {input.scores:q} --settings {params.settings:q}"
        " --out {output.picture:q} 2> >(tee {log:q} >&2)"


rule city_grid:
    """The grid of a training city: chips, folds and road density."""
    input:
        chips=f"{DATA}/acquire/{{city}}/train/chips.csv",
        masks=f"{DATA}/prepare/{{city}}/train/masks.csv",
        folds=f"{RESULTS}/folds.csv",
    output:
        picture=report(
            f"{RESULTS}/{{city}}/train/grid.png",
            category="Folds",
            labels={"city": "{city}"},
        ),
    log:
        f"{RESULTS}/logs/city_grid/{{city}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/city_grid/{{city}}.tsv"
    conda:
        "../../envs/roadspeed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    shell:
        'python "$SCRIPTS"/city_grid.py --chips {input.chips:q} --masks {input.masks:q} --folds {input.folds:q}'
        " --out {output.picture:q} 2> >(tee {log:q} >&2)"


rule curves:
    """Training metrics of all folds to curves."""
    input:
        metrics=expand(f"{RESULTS}/train/fold{{fold}}/metrics.csv", fold=CONFIG.folds),
    output:
        picture=report(
            f"{RESULTS}/train/curves.png",
            category="Training",
            labels={"what": "curves"},
        ),
    log:
        f"{RESULTS}/logs/curves.log",
    benchmark:
        f"{RESULTS}/benchmarks/curves.tsv"
    conda:
        "../../envs/roadspeed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    shell:
        'python "$SCRIPTS"/curves.py --metrics {input.metrics:q} --out {output.picture:q} 2> >(tee {log:q} >&2)'


rule page:
    """The report page of the run: scores, curves, maps and chips in one file."""
    input:
        scores=f"{RESULTS}/scores.csv",
        models=expand(f"{RESULTS}/train/fold{{fold}}/model.json", fold=CONFIG.folds),
        curves=f"{RESULTS}/train/curves.png",
        grids=expand(f"{RESULTS}/{{city}}/train/grid.png", city=TRAINED),
        maps=[f"{RESULTS}/{city}/{split}/map.png" for city, split in SPLITS],
        chips=expand(f"{RESULTS}/{{city}}/train/chips.png", city=LABELLED),
    output:
        page=f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/page.log",
    benchmark:
        f"{RESULTS}/benchmarks/page.tsv"
    conda:
        "../../envs/roadspeed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        run=RUN,
    shell:
        'python "$SCRIPTS"/report.py --run {params.run:q} --scores {input.scores:q} --models {input.models:q}'
        " --curves {input.curves:q} --grids {input.grids:q} --maps {input.maps:q} --chips {input.chips:q}"
        " --out {output.page:q} 2> >(tee {log:q} >&2)"
