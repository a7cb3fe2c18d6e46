-- # All

SELECT
    `operator_actions`.`id`,
    `operator_actions`.`created_at`,
    `operator_actions`.`principal`,
    `operator_actions`.`method`,
    `operator_actions`.`request_id`,
    `operator_actions`.`product_id`,
    `operator_actions`.`changes`
FROM `operator_actions` FORCE INDEX (PRIMARY)
WHERE (`operator_actions`.`id` < ?)
ORDER BY `operator_actions`.`id` DESC
LIMIT 51;

-- # Of a product

SELECT
    `operator_actions`.`id`,
    `operator_actions`.`created_at`,
    `operator_actions`.`principal`,
    `operator_actions`.`method`,
    `operator_actions`.`request_id`,
    `operator_actions`.`product_id`,
    `operator_actions`.`changes`
FROM `operator_actions` FORCE INDEX (operator_actions_product)
WHERE ((`operator_actions`.`id` < ?) AND (`operator_actions`.`product_id` = 21))
ORDER BY `operator_actions`.`id` DESC
LIMIT 51;
