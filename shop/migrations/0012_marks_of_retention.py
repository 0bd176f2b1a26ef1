from django.db import migrations, models


class Migration(migrations.Migration):
    """
    How far each rule of retention has come, by id, and since when it fails.

    The table has a row for each rule. What runs already goes on: it finds or writes `until` alone.
    """

    dependencies = [("shop", "0011_no_index_twice")]

    operations = [
        migrations.AddField(
            model_name="retentionmark",
            name="after_id",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="retentionmark",
            name="failing_since",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="retentionmark",
            name="error",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
        migrations.AlterField(
            model_name="retentionmark",
            name="until",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
